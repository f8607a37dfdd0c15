// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Loses a write to an anonymous page when a kernel skips the swap cache without holding the swap entry (CVE-2024-26759).
 *
 * A page is written by one thread and swapped out again while another is still in the fault that reads it. On one CPU that takes a
 * real-time thread whose timer fires inside the fault. The swap device has to be nearly full, so that the page gets the same entry
 * back; pages that nobody touches see to that. Knows nothing of twinboot: prints text, never ends, and exits with 1 at the first
 * loss.
 *
 * Needs root, a small swap device on zram (64K) and a kernel that preempts in the kernel.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

static size_t page_size;
static volatile uint64_t *page;
static atomic_ullong generation;
/* What the interferer is to do: wake at this time (nanoseconds), or nothing for 0. */
static atomic_ullong wake_at;
static atomic_uint reading, landed;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t go = PTHREAD_COND_INITIALIZER;

static void die(const char *what)
{
	fprintf(stderr, "swapin-loss: %s: %s\n", what, strerror(errno));
	exit(2);
}

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

static int swapped_out(void)
{
	static int fd = -1;
	uint64_t entry;

	if (fd < 0)
		fd = open("/proc/self/pagemap", O_RDONLY);
	if (fd < 0 || pread(fd, &entry, sizeof(entry), (uintptr_t)page / page_size * sizeof(entry)) != sizeof(entry))
		die("/proc/self/pagemap");
	return entry >> 62 & 1;
}

/* Writes the next generation in the middle of the other thread's fault and sends the page back to where it was. */
static void *interfere(void *unused)
{
	for (;;) {
		struct timespec ts;
		uint64_t at;

		pthread_mutex_lock(&lock);
		while (!(at = atomic_load(&wake_at)))
			pthread_cond_wait(&go, &lock);
		pthread_mutex_unlock(&lock);
		ts.tv_sec = at / 1000000000ull;
		ts.tv_nsec = at % 1000000000ull;
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
		if (atomic_load(&reading)) {
			*page = atomic_fetch_add(&generation, 1) + 1;
			madvise((void *)page, page_size, MADV_PAGEOUT);
			atomic_store(&landed, 1);
		}
		atomic_store(&wake_at, 0);
	}
	return unused;
}

/* Fills the swap device but for one or two entries with pages that stay there. */
static void fill_swap(void)
{
	struct sysinfo info;

	for (int tries = 0; tries < 4096; tries++) {
		uint64_t *filler;

		if (sysinfo(&info))
			die("sysinfo");
		if (info.freeswap * info.mem_unit <= page_size)
			return;
		filler = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (filler == MAP_FAILED)
			die("mmap");
		for (size_t word = 0; word < page_size / sizeof(*filler); word++)
			filler[word] = word * 2654435761u + tries;
		madvise(filler, page_size, MADV_PAGEOUT);
	}
}

int main(void)
{
	struct sched_param realtime = { .sched_priority = 1 };
	pthread_attr_t attributes;
	pthread_t interferer;
	cpu_set_t cpu;
	uint64_t window = 200000, tries = 0, landings = 0, told = now();

	page_size = sysconf(_SC_PAGESIZE);
	CPU_ZERO(&cpu);
	CPU_SET(0, &cpu);
	if (sched_setaffinity(0, sizeof(cpu), &cpu))
		die("sched_setaffinity");
	page = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		die("mmap");
	setvbuf(stdout, NULL, _IOLBF, 0);
	fill_swap();
	pthread_attr_init(&attributes);
	pthread_attr_setinheritsched(&attributes, PTHREAD_EXPLICIT_SCHED);
	pthread_attr_setschedpolicy(&attributes, SCHED_FIFO);
	pthread_attr_setschedparam(&attributes, &realtime);
	errno = pthread_create(&interferer, &attributes, interfere, NULL);
	if (errno)
		die("pthread_create");

	for (;;) {
		uint64_t begun, took, found;

		*page = atomic_fetch_add(&generation, 1) + 1;
		for (int again = 0; again < 100 && !swapped_out(); again++)
			madvise((void *)page, page_size, MADV_PAGEOUT);
		if (!swapped_out()) {
			fill_swap();
			continue;
		}
		atomic_store(&landed, 0);
		pthread_mutex_lock(&lock);
		atomic_store(&wake_at, now() + 50000 + rand() % window);
		pthread_cond_signal(&go);
		pthread_mutex_unlock(&lock);
		/* The fault has to begin before the timer fires. */
		while (atomic_load(&wake_at) && now() + window < atomic_load(&wake_at))
			;
		begun = now();
		atomic_store(&reading, 1);
		found = *page;
		atomic_store(&reading, 0);
		took = now() - begun;
		while (atomic_load(&wake_at))
			sched_yield();
		tries++;
		if (atomic_load(&landed))
			landings++;
		else
			window = (window * 15 + took * 2 + 50000) / 16;
		/* Read again: a stale page stays mapped. */
		found = *page;
		if (found != atomic_load(&generation)) {
			printf("lost a write: expected generation %llu, found %llu after %llu tries\n",
			       (unsigned long long)atomic_load(&generation), (unsigned long long)found,
			       (unsigned long long)tries);
			return 1;
		}
		if (now() - told > 1000000000ull) {
			told = now();
			printf("%llu tries, %llu in the fault, nothing lost\n", (unsigned long long)tries,
			       (unsigned long long)landings);
		}
	}
}
