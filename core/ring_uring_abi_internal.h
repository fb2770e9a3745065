/*
 * Constants of the kernel's io_uring interface that liburing 2.3 does not have, by the kernel that
 * brought them. What is not certain to be there is tried at start and done without.
 */
#ifndef PENSTOCK_CORE_RING_URING_ABI_INTERNAL_H
#define PENSTOCK_CORE_RING_URING_ABI_INTERNAL_H

#include <liburing.h>

#ifndef IORING_SETUP_SINGLE_ISSUER
#define IORING_SETUP_SINGLE_ISSUER (1U << 12) /* 6.0 */
#endif
#ifndef IORING_SETUP_DEFER_TASKRUN
#define IORING_SETUP_DEFER_TASKRUN (1U << 13) /* 6.1 */
#endif
#ifndef IORING_MSG_SEND_FD
#define IORING_MSG_SEND_FD 1 /* 6.0 */
#endif
#ifndef IORING_MSG_DATA
#define IORING_MSG_DATA 0
#endif
#ifndef IORING_CQE_F_SOCK_NONEMPTY
#define IORING_CQE_F_SOCK_NONEMPTY (1U << 2) /* 5.19 */
#endif

/* Commands of a socket, 6.7; an older kernel answers -EOPNOTSUPP. */
enum { RING_SOCKET_SETSOCKOPT = 3 };

#endif
