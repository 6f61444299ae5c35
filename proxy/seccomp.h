/* SPDX-License-Identifier: Apache-2.0 */
/* The calls of the kernel that weir makes (seccomp). Any thread; what is set is of the thread and
 * of those that it makes afterwards. */
#ifndef WEIR_SECCOMP_H
#define WEIR_SECCOMP_H

/* A sanitizer's library has files and calls of its own. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SECCOMP_SANITIZED 1
#elif defined(__has_feature)
#define SECCOMP_SANITIZED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define SECCOMP_SANITIZED 0
#endif

/* NULL, or why no filter can be set: this build or this kernel has none. */
const char *seccomp_flaw(void);

/* Allows what the control thread and its helpers do. 0 or errno. */
int seccomp_enter(void);

/* ... and of that what a worker does. 0 or errno. */
int seccomp_enter_worker(void);

#endif
