// Many chiplets, each an instance of one compiled model, joined by their links.
// Commands come on the standard input:
//
//   image CHIP DIRECTORY                 files for the memories of a chip of the next network
//   network COLUMNS ROWS WRAP_X WRAP_Y   new chips, reset
//   noise RATE SEED                      chance that a bit on a wire flips
//   cut CHIP SIDE ON                     the wires that leave CHIP through SIDE (0 north, 1 east,
//                                        2 south, 3 west) are 0
//   reset CHIP ON                        the reset of one chip
//   run CYCLES                           answers "done"
//   irq CHIP LIMIT                       runs until CHIP's interrupt; answers 1, or 0 at the limit
//   irqs LIMIT                           runs until any chip's interrupt; answers a bit for each chip
//   cycle                                answers the cycles so far
//   peek CHIP SCOPE WORD COUNT           answers words of a memory by the back door, 32 bits at a time,
//                                        the lowest first
//   access CHIP PORT WRITE ADDRESS STROBE BEATS [DATA ...]
//                                        queues an access of a chip's host; PORT 0: registers, 1: memories
//   go LIMIT                             runs until all queues are empty, and answers a line for each
//                                        access, in the order of the commands: the response, the cycle,
//                                        the cycles it took, the data; "timeout" at the limit
//
// The hosts of all chips work at the same time; the accesses of one go one after the other. All outputs
// of a chip are registers, or follow from registers alone, so chips are evaluated one after the other.

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "Vchips.h"
#include "verilated.h"
#include "verilated_syms.h"

using Chip = Vchips;

namespace {

struct Access {
    int number, port, write;
    uint32_t address;
    int strobe;
    unsigned beats;
    std::vector<uint32_t> data;
    int response = 0;
    uint64_t begun = 0, ended = 0;
};

// The host of one chip: what it offers in a cycle changes behind the clock edge.
struct Host {
    std::deque<Access> queue;
    bool busy = false;
    unsigned sent = 0;

    // The handshakes of the coming edge.
    bool aw, w, b, ar, r;

    void look(const Chip& c) {
        aw = (c.s_axil_awvalid && c.s_axil_awready) || (c.s_axi_awvalid && c.s_axi_awready);
        w = (c.s_axil_wvalid && c.s_axil_wready) || (c.s_axi_wvalid && c.s_axi_wready);
        b = (c.s_axil_bvalid && c.s_axil_bready) || (c.s_axi_bvalid && c.s_axi_bready);
        ar = (c.s_axil_arvalid && c.s_axil_arready) || (c.s_axi_arvalid && c.s_axi_arready);
        r = (c.s_axil_rvalid && c.s_axil_rready) || (c.s_axi_rvalid && c.s_axi_rready);
        if (busy) {
            Access& access = queue.front();
            if (b) access.response = access.port ? c.s_axi_bresp : c.s_axil_bresp;
            if (r) {
                access.response = std::max<int>(access.response,
                                                access.port ? c.s_axi_rresp : c.s_axil_rresp);
                access.data.push_back(access.port ? c.s_axi_rdata : c.s_axil_rdata);
            }
        }
    }

    void offer_word(Chip& c, const Access& access) {
        const bool last = sent + 1 == access.beats;
        c.s_axil_wdata = c.s_axi_wdata = access.data[sent];
        c.s_axil_wstrb = c.s_axi_wstrb = access.strobe;
        c.s_axi_wlast = last;
        (access.port ? c.s_axi_wvalid : c.s_axil_wvalid) = 1;
    }

    void drive(Chip& c, uint64_t now, std::vector<Access>& finished) {
        if (aw) c.s_axil_awvalid = c.s_axi_awvalid = 0;
        if (ar) c.s_axil_arvalid = c.s_axi_arvalid = 0;
        if (w) {
            c.s_axil_wvalid = c.s_axi_wvalid = 0;
            if (++sent < queue.front().beats) offer_word(c, queue.front());
        }
        if (busy) {
            Access& access = queue.front();
            if (access.write ? b : access.data.size() == access.beats) {
                access.ended = now;
                finished.push_back(access);
                queue.pop_front();
                busy = false;
            }
        }
        if (!busy && !queue.empty()) {
            Access& access = queue.front();
            busy = true, sent = 0;
            access.begun = now;
            c.s_axil_awaddr = c.s_axil_araddr = access.address;
            c.s_axi_awaddr = c.s_axi_araddr = access.address;
            c.s_axi_awlen = c.s_axi_arlen = access.beats - 1;
            c.s_axi_awsize = c.s_axi_arsize = 2;
            c.s_axi_awburst = c.s_axi_arburst = 1;
            if (access.write) {
                (access.port ? c.s_axi_awvalid : c.s_axil_awvalid) = 1;
                offer_word(c, access);
            } else {
                (access.port ? c.s_axi_arvalid : c.s_axil_arvalid) = 1;
            }
        }
    }
};

template <std::size_t N>
void flip(VlWide<N>& bits, int bit) { bits[bit / 32] ^= 1u << bit % 32; }
template <typename T>
void flip(T& bits, int bit) { bits ^= T{1} << bit; }

struct Network {
    int columns, rows;
    bool ring_x, ring_y;
    // One for each chip: its plusargs say where its memories' files are.
    std::vector<std::unique_ptr<VerilatedContext>> contexts;
    std::vector<std::unique_ptr<Chip>> chips;
    std::vector<Host> hosts;
    std::vector<int> cuts;
    std::vector<Access> finished;
    std::mt19937_64 random{1};
    double rate = 0;
    // Bits that pass before the next one that flips.
    uint64_t good_bits = 0;
    uint64_t now = 0;

    Network(int columns, int rows, bool wrap_x, bool wrap_y,
            const std::map<int, std::string>& images)
        : columns{columns}, rows{rows}, ring_x{wrap_x && columns > 2}, ring_y{wrap_y && rows > 2},
          hosts(columns * rows), cuts(columns * rows) {
        for (int i = 0; i < columns * rows; ++i) {
            auto context = std::make_unique<VerilatedContext>();
            const auto image = images.find(i);
            const std::string argument = image == images.end() ? "" : "+image=" + image->second;
            const char* arguments[] = {"chips", argument.c_str()};
            context->commandArgs(2, const_cast<char**>(arguments));
            auto chip = std::make_unique<Chip>(context.get(), "");
            // Plusargs are looked up in the thread's context, when the memories are filled.
            Verilated::threadContextp(context.get());
            contexts.push_back(std::move(context));
            chip->node_x = i % columns;
            chip->node_y = i / columns;
            chip->last_x = columns - 1;
            chip->last_y = rows - 1;
            chip->wrap_x = wrap_x;
            chip->wrap_y = wrap_y;
            chip->s_axil_bready = chip->s_axil_rready = 1;
            chip->s_axi_bready = chip->s_axi_rready = 1;
            chip->rst = 1;
            chip->eval();
            chips.push_back(std::move(chip));
        }
        run(4);
        for (auto& chip : chips) chip->rst = 0;
        run(1);
    }

    void noise(double new_rate, uint64_t seed) {
        rate = new_rate;
        random.seed(seed);
        draw();
    }

    void draw() {
        if (rate > 0) good_bits = std::geometric_distribution<uint64_t>(rate)(random);
    }

    int at(int x, int y) const { return (y + rows) % rows * columns + (x + columns) % columns; }

    template <typename Phit>
    void join(Phit& in, const Phit& out, bool cut) {
        if (cut) {
            in = Phit{};
            return;
        }
        in = out;
        if (rate <= 0) return;
        uint64_t first = 0;
        while (first + good_bits < PHIT_BITS) {
            first += good_bits;
            flip(in, static_cast<int>(first++));
            draw();
        }
        good_bits -= PHIT_BITS - first;
    }

    void exchange() {
        for (int y = 0; y < rows; ++y) {
            for (int x = 0; x < columns; ++x) {
                Chip& chip = *chips[at(x, y)];
                // The side of the neighbour that leads here: 0 north, 1 east, 2 south, 3 west.
                auto is_cut = [&](int neighbour, int side) { return cuts[neighbour] >> side & 1; };
                if (y > 0 || ring_y)
                    join(chip.north_phit_in, chips[at(x, y - 1)]->south_phit_out,
                         is_cut(at(x, y - 1), 2));
                if (x < columns - 1 || ring_x)
                    join(chip.east_phit_in, chips[at(x + 1, y)]->west_phit_out,
                         is_cut(at(x + 1, y), 3));
                if (y < rows - 1 || ring_y)
                    join(chip.south_phit_in, chips[at(x, y + 1)]->north_phit_out,
                         is_cut(at(x, y + 1), 0));
                if (x > 0 || ring_x)
                    join(chip.west_phit_in, chips[at(x - 1, y)]->east_phit_out,
                         is_cut(at(x - 1, y), 1));
            }
        }
    }

    void cycle() {
        exchange();
        for (std::size_t i = 0; i < chips.size(); ++i) {
            Chip& chip = *chips[i];
            chip.clk = 0;
            chip.eval();
            hosts[i].look(chip);
            chip.clk = 1;
            chip.eval();
            hosts[i].drive(chip, now, finished);
        }
        ++now;
    }

    void run(long cycles) {
        for (; cycles > 0; --cycles) cycle();
    }

    uint64_t irqs() const {
        uint64_t pending = 0;
        for (std::size_t i = 0; i < chips.size(); ++i) pending |= uint64_t{chips[i]->irq} << i;
        return pending;
    }

    // A memory of words of 32-bit parts, at least three to a word.
    void peek(int chip, const std::string& name, int word, int count) const {
        const VerilatedScope* scope = contexts[chip]->scopeFind(name.c_str());
        const VerilatedVar* memory = scope ? scope->varFind("mem") : nullptr;
        if (!memory) {
            std::cout << "no memory " << name << std::endl;
            return;
        }
        const int parts = memory->entSize() / 4;
        const auto* words = static_cast<const uint32_t*>(memory->datap());
        for (long i = long{word} * parts; i < long{word + count} * parts; ++i)
            std::cout << words[i] << ' ';
        std::cout << std::endl;
    }

    bool busy() const {
        return std::any_of(hosts.begin(), hosts.end(), [](const Host& h) { return !h.queue.empty(); });
    }
};

}  // namespace

int main() {
    std::ios::sync_with_stdio(false);
    std::unique_ptr<Network> network;
    std::string command;
    std::map<int, std::string> images;
    int accesses = 0;
    while (std::cin >> command) {
        if (command == "image") {
            int chip;
            std::cin >> chip >> std::ws;
            std::getline(std::cin, images[chip]);
        } else if (command == "network") {
            int columns, rows, wrap_x, wrap_y;
            std::cin >> columns >> rows >> wrap_x >> wrap_y;
            network = std::make_unique<Network>(columns, rows, wrap_x, wrap_y, images);
            images.clear();
        } else if (command == "noise") {
            double rate;
            uint64_t seed;
            std::cin >> rate >> seed;
            network->noise(rate, seed);
        } else if (command == "cut") {
            int chip, side, on;
            std::cin >> chip >> side >> on;
            if (on) network->cuts[chip] |= 1 << side;
            else network->cuts[chip] &= ~(1 << side);
        } else if (command == "reset") {
            int chip, on;
            std::cin >> chip >> on;
            network->chips[chip]->rst = on;
        } else if (command == "run") {
            long cycles;
            std::cin >> cycles;
            network->run(cycles);
            std::cout << "done" << std::endl;
        } else if (command == "irq") {
            int chip;
            long limit;
            std::cin >> chip >> limit;
            while (limit-- > 0 && !network->chips[chip]->irq) network->cycle();
            std::cout << int(network->chips[chip]->irq) << std::endl;
        } else if (command == "irqs") {
            long limit;
            std::cin >> limit;
            while (limit-- > 0 && !network->irqs()) network->cycle();
            std::cout << network->irqs() << std::endl;
        } else if (command == "cycle") {
            std::cout << network->now << std::endl;
        } else if (command == "peek") {
            int chip, word, count;
            std::string scope;
            std::cin >> chip >> scope >> word >> count;
            network->peek(chip, scope, word, count);
        } else if (command == "access") {
            int chip;
            Access access{};
            std::cin >> chip >> access.port >> access.write >> access.address >> access.strobe
                >> access.beats;
            access.number = accesses++;
            if (access.write) {
                access.data.resize(access.beats);
                for (auto& word : access.data) std::cin >> word;
            }
            network->hosts[chip].queue.push_back(std::move(access));
        } else if (command == "go") {
            long limit;
            std::cin >> limit;
            while (network->busy() && limit-- > 0) network->cycle();
            if (network->busy()) {
                std::cout << "timeout" << std::endl;
                continue;
            }
            auto& finished = network->finished;
            std::sort(finished.begin(), finished.end(),
                      [](const Access& a, const Access& b) { return a.number < b.number; });
            for (const Access& access : finished) {
                std::cout << access.response << ' ' << access.ended << ' '
                    << access.ended - access.begun;
                if (!access.write) for (uint32_t word : access.data) std::cout << ' ' << word;
                std::cout << '\n';
            }
            finished.clear();
            std::cout << std::flush;
        }
    }
    return 0;
}
