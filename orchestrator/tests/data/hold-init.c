/* A guest that is nothing but an init with two threads. The first fills its registers and the x87 and SSE state, calls
 * getppid() and compares what it finds afterwards; the second moves the first from CPU to CPU and shows that it runs. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct registers {
	uint64_t value[14]; /* rbx rbp rdx rsi rdi r8 r9 r10 r12 r13 r14 r15 flags rsp */
};

struct registers before, after;
uint8_t state_before[512] __attribute__((aligned(16)));
uint8_t state_after[512] __attribute__((aligned(16)));
static volatile uint64_t calls, beats;
static pid_t victim;

/* rax, rcx and r11 are the system call's own. */
static void call(void)
{
	before.value[12] = 0;
	__asm__ volatile(
		"push %%rbp\n"
		"sub $128, %%rsp\n"
		"fninit\n fldpi\n fldl2e\n fldln2\n"
		"lea before(%%rip), %%rax\n"
		"mov 0(%%rax), %%rbx\n mov 8(%%rax), %%rbp\n mov 16(%%rax), %%rdx\n mov 24(%%rax), %%rsi\n"
		"mov 32(%%rax), %%rdi\n mov 40(%%rax), %%r8\n mov 48(%%rax), %%r9\n mov 56(%%rax), %%r10\n"
		"mov 64(%%rax), %%r12\n mov 72(%%rax), %%r13\n mov 80(%%rax), %%r14\n mov 88(%%rax), %%r15\n"
		"movq %%rbx, %%xmm0\n movq %%rbp, %%xmm1\n movq %%rdx, %%xmm5\n movq %%r15, %%xmm15\n"
		"punpcklqdq %%xmm1, %%xmm0\n punpcklqdq %%xmm5, %%xmm15\n"
		"mov %%rsp, 104(%%rax)\n"
		"fxsave64 state_before(%%rip)\n"
		"cmp %%rbx, %%r12\n" /* some flags */
		"pushfq\n popq 96(%%rax)\n"
		"mov $110, %%eax\n"
		"syscall\n"
		"lea after(%%rip), %%rax\n"
		"pushfq\n popq 96(%%rax)\n"
		"fxsave64 state_after(%%rip)\n"
		"mov %%rbx, 0(%%rax)\n mov %%rbp, 8(%%rax)\n mov %%rdx, 16(%%rax)\n mov %%rsi, 24(%%rax)\n"
		"mov %%rdi, 32(%%rax)\n mov %%r8, 40(%%rax)\n mov %%r9, 48(%%rax)\n mov %%r10, 56(%%rax)\n"
		"mov %%r12, 64(%%rax)\n mov %%r13, 72(%%rax)\n mov %%r14, 80(%%rax)\n mov %%r15, 88(%%rax)\n"
		"mov %%rsp, 104(%%rax)\n"
		"add $128, %%rsp\n"
		"pop %%rbp\n"
		::: "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "xmm0",
		"xmm1", "xmm5", "xmm15", "memory", "cc");
}

static uint64_t random64(void)
{
	static uint64_t x = 88172645463325252ull;
	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x;
}

static void *mover(void *unused)
{
	uint64_t said = 0;
	for (;;) {
		struct timespec pause = { 0, 7 * 1000 * 1000 };
		cpu_set_t cpus;
		CPU_ZERO(&cpus);
		CPU_SET(beats % 2, &cpus);
		sched_setaffinity(victim, sizeof(cpus), &cpus);
		nanosleep(&pause, NULL);
		beats++;
		if (beats - said >= 20) {
			said = beats;
			printf("debuggee: beats %llu calls %llu\n", (unsigned long long)beats, (unsigned long long)calls);
		}
	}
	return unused;
}

int main(void)
{
	pthread_t second;
	victim = (pid_t)syscall(SYS_gettid);
	setvbuf(stdout, NULL, _IONBF, 0);
	if (pthread_create(&second, NULL, mover, NULL))
		printf("debuggee: BROKEN no second thread\n");
	printf("debuggee: up %d\n", victim);
	for (;;) {
		for (int at = 0; at < 12; at++)
			before.value[at] = random64();
		memset(state_before, 0, sizeof(state_before));
		memset(state_after, 0, sizeof(state_after));
		call();
		calls++;
		for (int at = 0; at < 14; at++)
			if (before.value[at] != after.value[at])
				printf("debuggee: BROKEN register %d: %llx became %llx\n", at,
				       (unsigned long long)before.value[at], (unsigned long long)after.value[at]);
		if (memcmp(state_before, state_after, 416))
			printf("debuggee: BROKEN x87 or SSE state\n");
	}
}
