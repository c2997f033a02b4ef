/* Other OS threads that take a launch's clusters too. */
#include "tests/cuda_emu/emu_sched.h"

#include <condition_variable>
#include <thread>

using namespace emu;

namespace {

struct pool {
    std::mutex lock;
    std::condition_variable wake, rest;
    std::vector<std::thread> threads;
    struct job {
        launch *l;
        int wanted, running;
    };
    std::vector<job *> jobs;
    bool stop = false;

    void help() {
        std::unique_lock<std::mutex> hold(lock);
        for (;;) {
            job *mine = nullptr;
            for (job *j : jobs)
                if (!mine && j->wanted > 0) mine = j;
            if (mine) {
                mine->wanted--;
                mine->running++;
                hold.unlock();
                run_blocks(mine->l);
                hold.lock();
                if (--mine->running == 0) rest.notify_all();
            } else if (stop) return;
            else wake.wait(hold);
        }
    }

    void run(launch *l, int helpers) {
        job j = {l, helpers, 0};
        {
            std::lock_guard<std::mutex> hold(lock);
            while ((int)threads.size() < helpers) threads.emplace_back([this] { help(); });
            jobs.push_back(&j);
        }
        wake.notify_all();
        run_blocks(l);
        std::unique_lock<std::mutex> hold(lock);
        j.wanted = 0;
        while (j.running) rest.wait(hold);
        for (size_t i = 0; i < jobs.size(); i++)
            if (jobs[i] == &j) jobs[i] = jobs.back();
        jobs.pop_back();
    }

    ~pool() {
        {
            std::lock_guard<std::mutex> hold(lock);
            stop = true;
        }
        wake.notify_all();
        for (std::thread &t : threads) t.join();
    }
};
pool helpers;

} // namespace

void emu::run_helped(launch *l, int others) { helpers.run(l, others); }
