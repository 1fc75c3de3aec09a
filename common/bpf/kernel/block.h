/* SPDX-License-Identifier: GPL-2.0 */
#pragma once

#include "kernel/cgroup.h"
#include "kernel/types.h"

typedef __u64 sector_t; /* of 512 bytes */
typedef __u32 dev_t; /* in the kernel: major << 20 | minor */

struct gendisk {
	int major;
	int first_minor;
	char disk_name[32];
} CO_RE;

struct request_queue___since_5_15 { /* d152c682f03c */
	struct gendisk *disk;
} CO_RE;

struct block_device {
	dev_t bd_dev;
	struct gendisk *bd_disk;
} CO_RE;

struct blkcg {
	struct cgroup_subsys_state css;
} CO_RE;

struct blkcg_gq {
	struct blkcg *blkcg;
} CO_RE;

struct bio {
	struct bio *bi_next; /* in the same request */
	struct blkcg_gq *bi_blkg;
} CO_RE;

struct bio___since_5_12 { /* 309dca309fc3 */
	struct block_device *bi_bdev;
} CO_RE;

struct bio___before_5_12 {
	struct gendisk *bi_disk;
} CO_RE;

enum mq_rq_state {
	MQ_RQ_IDLE = 0, /* the driver has it not */
};

struct request {
	struct request_queue *q;
	__u32 cmd_flags; /* operation, REQ_* */
	__u32 rq_flags;
	unsigned int __data_len; /* bytes that are still to be done */
	sector_t __sector; /* where they begin; all ones: nowhere */
	struct bio *bio;
	struct block_device *part; /* the partition or whole disk it is counted for */
	__u64 start_time_ns; /* when it was allocated; 0: nobody asked */
	enum mq_rq_state state;
} CO_RE;

/* The request's own pointer to its disk went in Linux 5.17, f3fa33acca9f. */
struct request___before_5_17 {
	struct gendisk *rq_disk;
} CO_RE;

struct device {
	dev_t devt;
} CO_RE;

/* A partition was not a block_device until Linux 5.11, 0d02129e76ed. */
struct hd_struct___before_5_11 {
	struct device __dev;
} CO_RE;

struct request___before_5_11 {
	struct hd_struct___before_5_11 *part;
} CO_RE;
