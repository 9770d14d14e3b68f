/* Threads that sleep while there is nothing to do, because users' computers are shared.
 *
 * Tiles are handed out one by one, so that a thread which gets no core holds nobody up.
 */
#include "core.h"

static void run_alone(tile_task run, const void *job, index_t n_tiles) {
    for (index_t number = 0; number < n_tiles; number++) run(job, number, 0);
}

#ifdef _WIN32

void run_tiles(tile_task run, const void *job, index_t n_tiles, int n_threads) {
    (void)n_threads;
    run_alone(run, job, n_tiles);
}

int prepare_threads(void) { return 0; }

#else

#include <pthread.h>
#include <signal.h>

static struct {
    pthread_mutex_t owner, lock;
    pthread_cond_t work, idle;
    tile_task run;
    const void *job;
    index_t n_tiles, next;
    int n_workers, n_wanted, n_joined, n_active;
} pool;

static void reset_pool(void) { /* a forked child has no threads */
    memset(&pool, 0, sizeof pool);
    pthread_mutex_init(&pool.owner, NULL);
    pthread_mutex_init(&pool.lock, NULL);
    pthread_cond_init(&pool.work, NULL);
    pthread_cond_init(&pool.idle, NULL);
}

static void take_tiles(int thread) {
    index_t number;
    while ((number = __atomic_fetch_add(&pool.next, 1, __ATOMIC_RELAXED)) < pool.n_tiles)
        pool.run(pool.job, number, thread);
}

static void *worker(void *unused) {
    pthread_mutex_lock(&pool.lock);
    for (;;) {
        while (pool.n_joined >= pool.n_wanted) pthread_cond_wait(&pool.work, &pool.lock);
        int thread = ++pool.n_joined;
        pool.n_active++;
        pthread_mutex_unlock(&pool.lock);
        take_tiles(thread);
        pthread_mutex_lock(&pool.lock);
        pool.n_wanted = 0; /* no tiles are left */
        if (--pool.n_active == 0) pthread_cond_signal(&pool.idle);
    }
    return unused;
}

/* Signals are for the threads of the user. */
static void start_workers(int n) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (pthread_t thread; pool.n_workers < n; pool.n_workers++) {
        if (pthread_create(&thread, NULL, worker, NULL)) break;
        pthread_detach(thread);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void run_tiles(tile_task run, const void *job, index_t n_tiles, int n_threads) {
    const int n_wanted = (int)MIN(n_threads, n_tiles) - 1;
    if (n_wanted < 1 || pthread_mutex_trylock(&pool.owner)) {
        run_alone(run, job, n_tiles);
        return;
    }
    pthread_mutex_lock(&pool.lock);
    pool.run = run, pool.job = job, pool.n_tiles = n_tiles, pool.next = 0;
    pool.n_joined = 0, pool.n_wanted = n_wanted;
    start_workers(n_wanted);
    for (int k = 0; k < n_wanted; k++) pthread_cond_signal(&pool.work);
    pthread_mutex_unlock(&pool.lock);
    take_tiles(0);
    pthread_mutex_lock(&pool.lock);
    pool.n_wanted = 0; /* those that have not joined by now are not needed */
    while (pool.n_active) pthread_cond_wait(&pool.idle, &pool.lock);
    pthread_mutex_unlock(&pool.lock);
    pthread_mutex_unlock(&pool.owner);
}

int prepare_threads(void) {
    static int ready; /* a second interpreter shares the threads */
    if (ready++) return 0;
    reset_pool();
    return pthread_atfork(NULL, NULL, reset_pool);
}

#endif
