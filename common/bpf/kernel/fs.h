/* SPDX-License-Identifier: GPL-2.0 */
#pragma once

#include "kernel/types.h"

/* include/uapi/linux/limits.h; with the NUL */
enum { NAME_SIZE = 256, PATH_SIZE = 4096 };

struct qstr {
	const unsigned char *name;
} CO_RE;

struct dentry {
	struct dentry *d_parent;
	struct qstr d_name;
} CO_RE;

struct vfsmount {
	struct dentry *mnt_root;
} CO_RE;

struct mnt_namespace;

struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
	struct mnt_namespace *mnt_ns; /* NULL once it is unmounted */
} CO_RE;

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
} CO_RE;

/* include/uapi/linux/stat.h */
enum { S_IFMT = 0170000, S_IFREG = 0100000, S_IFSOCK = 0140000 };

typedef __s64 loff_t;
#define LLONG_MAX 0x7fffffffffffffffLL

struct super_block {
	unsigned long s_magic;
} CO_RE;

struct inode {
	__u16 i_mode;
	struct super_block *i_sb;
	unsigned long i_ino;
	loff_t i_size;
} CO_RE;

/* What of a file, or of a block device, is in memory. */
struct address_space {
	struct inode *host;
} CO_RE;

struct file_ra_state {
	loff_t prev_pos; /* where the last read ended */
} CO_RE;

struct file_operations {
	void *read_iter;
	void *write_iter;
} CO_RE;

/* include/linux/fs.h */
enum { FMODE_PATH = 1 << 14 };

struct file {
	unsigned int f_mode;
	const struct file_operations *f_op;
	struct path f_path;
	struct inode *f_inode;
	struct address_space *f_mapping;
	loff_t f_pos;
	struct file_ra_state f_ra;
	void *private_data; /* of a socket: struct socket */
} CO_RE;

/* A read or a write. */
struct kiocb {
	struct file *ki_filp;
	loff_t ki_pos;
} CO_RE;

/* How many have it open; 0: nobody any more. */
struct file___f_count {
	atomic64_t f_count;
} CO_RE;

typedef struct {
	atomic64_t refcnt;
} CO_RE file_ref_t;

/* Linux 6.13: less than 0: nobody any more. */
struct file___f_ref {
	file_ref_t f_ref;
} CO_RE;

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
} CO_RE;

struct files_struct {
	struct fdtable *fdt;
} CO_RE;

struct fs_struct {
	struct path pwd;
} CO_RE;
