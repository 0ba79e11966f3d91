// A board without hardware: the serial chiplet in Verilator, its line on a pseudo-terminal.
//
// Prints the terminal's name and runs until SIGINT or SIGTERM; then prints the cycles that passed.
// While nobody has talked for IDLE_CYCLES, the clock stands still.

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <sys/prctl.h>
#include <termios.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <deque>

#include "Vtop.h"
#include "verilated.h"

namespace {

constexpr int kDivisor = DIVISOR;
constexpr unsigned long long kIdleCycles = IDLE_CYCLES;
constexpr int kResetCycles = 8;
// Cycles from one look at the terminal to the next.
constexpr int kLookCycles = 32;
constexpr int kBits = 10;

volatile std::sig_atomic_t stopped = 0;
void stop(int) { stopped = 1; }

[[noreturn]] void fail(const char *what) {
    std::perror(what);
    std::exit(1);
}

// The host's half of the line: bytes of the terminal to bits and back.
class Line {
  public:
    explicit Line(int terminal) : terminal_(terminal) {}

    unsigned long long last_active() const { return last_active_; }

    // One clock cycle: takes the level of tx, returns that of rx.
    int step(int tx, unsigned long long cycle) {
        receive(tx, cycle);
        if (!left_ && waiting_.empty() && cycle % kLookCycles == 0) look(cycle);
        if (!left_ && !waiting_.empty()) {
            shift_ = 1u << (kBits - 1) | waiting_.front() << 1;
            waiting_.pop_front();
            left_ = kBits * kDivisor;
        }
        if (!left_) return 1;
        const int level = shift_ >> ((kBits * kDivisor - left_) / kDivisor) & 1;
        --left_;
        return level;
    }

    void look(unsigned long long cycle) {
        unsigned char bytes[512];
        const ssize_t count = read(terminal_, bytes, sizeof bytes);
        if (count > 0) {
            waiting_.insert(waiting_.end(), bytes, bytes + count);
            last_active_ = cycle;
        }
    }

  private:
    void receive(int tx, unsigned long long cycle) {
        if (!age_) {
            age_ = tx ? 0 : 1;
            byte_ = 0;
            return;
        }
        const int bit = age_ / kDivisor;
        if (age_ % kDivisor == kDivisor / 2 && bit >= 1 && bit <= 8) byte_ |= tx << (bit - 1);
        if (++age_ >= kBits * kDivisor - kDivisor / 2) {
            const unsigned char byte = byte_;
            last_active_ = cycle;
            // A terminal that nobody reads is full some day, like a real line that nobody reads.
            if (write(terminal_, &byte, 1) < 0) {}
            age_ = 0;
        }
    }

    int terminal_;
    std::deque<unsigned char> waiting_;
    unsigned shift_ = 0, byte_ = 0;
    int left_ = 0, age_ = 0;
    unsigned long long last_active_ = 0;
};

}  // namespace

int main(int argc, char **argv) {
    Verilated::commandArgs(argc, argv);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    std::signal(SIGINT, stop);
    std::signal(SIGTERM, stop);

    int master, device;
    char name[256];
    if (openpty(&master, &device, name, nullptr, nullptr)) fail("no pseudo-terminal");
    termios raw;
    tcgetattr(device, &raw);
    cfmakeraw(&raw);
    tcsetattr(device, TCSANOW, &raw);
    // The device stays open here, so that the terminal survives hosts that come and go.
    fcntl(master, F_SETFL, O_NONBLOCK);

    Vtop chip;
    Line line(master);
    chip.rx = 1;
    chip.rst = 1;
    unsigned long long cycle = 0;
    std::printf("%s\n", name);
    std::fflush(stdout);
    while (!stopped) {
        chip.clk = 1;
        chip.eval();
        chip.rx = line.step(chip.tx, cycle);
        chip.rst = cycle < kResetCycles;
        chip.clk = 0;
        chip.eval();
        ++cycle;
        if (cycle - line.last_active() > kIdleCycles) {
            pollfd waiting{master, POLLIN, 0};
            while (!stopped && poll(&waiting, 1, 200) <= 0) {}
            line.look(cycle);
        }
    }
    std::printf("%llu cycles\n", cycle);
    return 0;
}
