// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A program that is busy in functions whose names are known.
 *
 * busy spin         in user space, four calls deep, until killed
 * busy spin MS      for so many milliseconds of its CPU time
 * busy read         in read(2) of /dev/zero
 * busy threads      two threads, in functions of their own; prints their ids
 * busy jit          in code that it has written itself, with a perf map for it
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 20000
/* A call that is a call, with a frame of its own. */
#define FUNCTION __attribute__((noinline, noclone)) void
#define AFTER __asm__ volatile("" ::: "memory")

static volatile uint64_t turns;
static clockid_t own_clock = CLOCK_PROCESS_CPUTIME_ID;
static uint64_t end_ns = UINT64_MAX;

static uint64_t used_ns(void)
{
	struct timespec now;

	clock_gettime(own_clock, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

FUNCTION busy_innermost(void)
{
	for (int i = 0; i < 100 * ROUNDS; i++)
		turns++;
}

FUNCTION busy_inner(void)
{
	busy_innermost();
	AFTER;
}

FUNCTION busy_outer(void)
{
	while (end_ns == UINT64_MAX || used_ns() < end_ns)
		busy_inner();
	AFTER;
}

/* The C library's read() has no frame, so this one is not seen. */
FUNCTION hidden_caller(int fd, char *zeros)
{
	while (read(fd, zeros, 1 << 20) > 0)
		AFTER;
}

FUNCTION busy_read(void)
{
	char *zeros = malloc(1 << 20);

	hidden_caller(open("/dev/zero", O_RDONLY), zeros);
	AFTER;
}

FUNCTION busy_one(void *unused)
{
	for (;;)
		turns++;
}

FUNCTION busy_other(void *unused)
{
	for (;;)
		turns++;
}

static void *first(void *unused)
{
	printf("%d ", gettid());
	busy_one(unused);
	AFTER;
	return unused;
}

static void *second(void *unused)
{
	printf("%d\n", gettid());
	fflush(stdout);
	busy_other(unused);
	AFTER;
	return unused;
}

static void busy_threads(void)
{
	pthread_t thread;

	setvbuf(stdout, NULL, _IOFBF, BUFSIZ);
	pthread_create(&thread, NULL, first, NULL);
	usleep(100000); /* in this order */
	second(NULL);
}

/* push %rbp; mov %rsp, %rbp; dec %edi; jnz back to the dec; pop %rbp; ret */
static const unsigned char code[] = { 0x55, 0x48, 0x89, 0xe5, 0xff, 0xcf, 0x75, 0xfc, 0x5d, 0xc3 };

FUNCTION busy_jit(void)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void (*compiled)(int) = (void (*)(int))((char *)page + 64);
	char path[64];
	FILE *map;

	memcpy((char *)page + 64, code, sizeof(code));
	snprintf(path, sizeof(path), "/tmp/perf-%d.map", getpid());
	map = fopen(path, "w");
	fprintf(map, "%lx %zx compiled; at\trun time\n", (unsigned long)compiled, sizeof(code));
	fclose(map);
	for (;;)
		compiled(100000000);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "spin";

	if (argc > 2)
		end_ns = used_ns() + atoll(argv[2]) * 1000000;
	if (!strcmp(what, "read"))
		busy_read();
	else if (!strcmp(what, "threads"))
		busy_threads();
	else if (!strcmp(what, "jit"))
		busy_jit();
	else
		busy_outer();
	return 0;
}
