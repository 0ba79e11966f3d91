// A network of nodes, each an instance of one compiled model; commands come on the standard input.
//
//   network COLUMNS ROWS WRAP_X WRAP_Y   new nodes, reset
//   set NAME VALUE                       an input of all nodes' traffic, or "hold"
//   block CLASSES                        classes that node 0 does not take in
//   run CYCLES                           answers "done"
//   counts                               answers a line for each node: its counters
//   probe CLASS X Y                      answers, for each node, the packets sent there
//
// All outputs of a node are registers, so nodes are evaluated one after the other.

#include <cstdint>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "Vnetwork_node.h"
#include "verilated.h"

using Node = Vnetwork_node;

namespace {

struct Network {
    int columns, rows;
    std::vector<std::unique_ptr<Node>> nodes;
    uint32_t noise = 1;
    uint16_t time = 0;
    bool hold = false;

    Network(int columns, int rows, bool wrap_x, bool wrap_y) : columns{columns}, rows{rows} {
        for (int y = 0; y < rows; ++y) {
            for (int x = 0; x < columns; ++x) {
                auto node = std::make_unique<Node>();
                node->node_x = x;
                node->node_y = y;
                node->last_x = columns - 1;
                node->last_y = rows - 1;
                node->wrap_x = wrap_x;
                node->wrap_y = wrap_y;
                const bool ring_x = wrap_x && columns > 2, ring_y = wrap_y && rows > 2;
                node->link_up = (y > 0 || ring_y) | (x < columns - 1 || ring_x) << 1
                    | (y < rows - 1 || ring_y) << 2 | (x > 0 || ring_x) << 3;
                nodes.push_back(std::move(node));
            }
        }
        all([](Node& node) { node.rst = 1; });
        run(4);
        all([](Node& node) { node.rst = 0; });
    }

    void all(const std::function<void(Node&)>& what) {
        for (auto& node : nodes) what(*node);
    }

    Node& at(int x, int y) {
        return *nodes[(y + rows) % rows * columns + (x + columns) % columns];
    }

    void exchange() {
        for (int y = 0; y < rows; ++y) {
            for (int x = 0; x < columns; ++x) {
                Node& node = at(x, y);
                const int up = node.link_up;
#define JOIN(bit, side, opposite, neighbour)                                   \
    if (up >> bit & 1) {                                                       \
        Node& other = neighbour;                                               \
        node.in_valid_##side = other.arrival_valid_##opposite;                 \
        node.in_flit_##side = other.arrival_##opposite;                        \
        node.freed_##side = other.in_freed_##opposite;                         \
    }
                JOIN(0, north, south, at(x, y - 1))
                JOIN(1, east, west, at(x + 1, y))
                JOIN(2, south, north, at(x, y + 1))
                JOIN(3, west, east, at(x - 1, y))
#undef JOIN
                node.time = time;
                noise ^= noise << 13, noise ^= noise >> 17, noise ^= noise << 5;
                node.hold = hold ? noise & noise >> 8 & 15 : 0;
            }
        }
        ++time;
    }

    void run(long cycles) {
        for (; cycles > 0; --cycles) {
            exchange();
            all([](Node& node) { node.clk = 0, node.eval(); });
            all([](Node& node) { node.clk = 1, node.eval(); });
        }
    }
};

const std::map<std::string, std::function<void(Node&, int)>> SETTINGS = {
#define SETTING(name) {#name, [](Node& node, int value) { node.name = value; }},
    SETTING(rate) SETTING(classes) SETTING(length) SETTING(length_mask)
    SETTING(fixed) SETTING(fixed_x) SETTING(fixed_y)
#undef SETTING
};

}  // namespace

int main() {
    std::unique_ptr<Network> network;
    std::string command;
    while (std::cin >> command) {
        if (command == "network") {
            int columns, rows, wrap_x, wrap_y;
            std::cin >> columns >> rows >> wrap_x >> wrap_y;
            network = std::make_unique<Network>(columns, rows, wrap_x, wrap_y);
        } else if (command == "set") {
            std::string name;
            int value;
            std::cin >> name >> value;
            if (name == "hold") network->hold = value;
            else network->all([&](Node& node) { SETTINGS.at(name)(node, value); });
        } else if (command == "block") {
            int classes;
            std::cin >> classes;
            network->at(0, 0).blocked = classes;
        } else if (command == "run") {
            long cycles;
            std::cin >> cycles;
            network->run(cycles);
            std::cout << "done" << std::endl;
        } else if (command == "counts") {
            for (auto& pointer : network->nodes) {
                Node& node = *pointer;
                std::cout << node.sent << ' ' << node.received << ' ' << node.packets << ' '
                    << node.waiting << ' ' << node.latency_sum << ' ' << node.latency_max << ' '
                    << int(node.wrong) << ' ' << int(node.overrun) << ' ' << int(node.discarded) << ' '
                    << (node.by_class & 0xFFFF) << ' ' << (node.by_class >> 16 & 0xFFFF) << ' '
                    << (node.by_class >> 32 & 0xFFFF) << ' ' << node.flits_out_local << ' '
                    << node.flits_out_north << ' ' << node.flits_out_east << ' '
                    << node.flits_out_south << ' ' << node.flits_out_west << std::endl;
            }
        } else if (command == "probe") {
            int number, x, y;
            std::cin >> number >> x >> y;
            for (auto& node : network->nodes) {
                node->probe = number << 6 | y << 3 | x;
                node->eval();
                std::cout << node->probe_count << std::endl;
            }
        }
    }
    return 0;
}
