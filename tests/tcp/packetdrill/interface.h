/* interface: what the tool packetdrill expects of a shared object given by --so_filename: one function that fills a table. The order
 * of the members is the tool's. */
#pragma once

#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>

struct packetdrill_interface {
    void *userdata;
    void (*free)(void *userdata);
    int (*socket)(void *userdata, int domain, int type, int protocol);
    int (*bind)(void *userdata, int fd, const struct sockaddr *a, socklen_t n);
    int (*listen)(void *userdata, int fd, int backlog);
    int (*accept)(void *userdata, int fd, struct sockaddr *a, socklen_t *n);
    int (*connect)(void *userdata, int fd, const struct sockaddr *a, socklen_t n);
    ssize_t (*read)(void *userdata, int fd, void *p, size_t n);
    ssize_t (*readv)(void *userdata, int fd, const struct iovec *v, int n);
    ssize_t (*recv)(void *userdata, int fd, void *p, size_t n, int flags);
    ssize_t (*recvfrom)(void *userdata, int fd, void *p, size_t n, int flags, struct sockaddr *a,
                        socklen_t *len);
    ssize_t (*recvmsg)(void *userdata, int fd, struct msghdr *m, int flags);
    ssize_t (*write)(void *userdata, int fd, const void *p, size_t n);
    ssize_t (*writev)(void *userdata, int fd, const struct iovec *v, int n);
    ssize_t (*send)(void *userdata, int fd, const void *p, size_t n, int flags);
    ssize_t (*sendto)(void *userdata, int fd, const void *p, size_t n, int flags,
                      const struct sockaddr *a, socklen_t len);
    ssize_t (*sendmsg)(void *userdata, int fd, const struct msghdr *m, int flags);
    int (*fcntl)(void *userdata, int fd, int cmd, ...);
    int (*ioctl)(void *userdata, int fd, unsigned long request, ...);
    int (*close)(void *userdata, int fd);
    int (*shutdown)(void *userdata, int fd, int how);
    int (*getsockopt)(void *userdata, int fd, int level, int name, void *p, socklen_t *n);
    int (*setsockopt)(void *userdata, int fd, int level, int name, const void *p, socklen_t n);
    int (*poll)(void *userdata, struct pollfd *fds, nfds_t n, int timeout);
    /* A raw IP packet into the stack. */
    int (*netdev_send)(void *userdata, const void *packet, size_t n);
    /* The next packet of the stack, with the time it left; -1 and *n 0: none yet. */
    int (*netdev_receive)(void *userdata, void *p, size_t *n, long long *time_usecs);
    int (*usleep)(void *userdata, useconds_t usec);
    int (*gettimeofday)(void *userdata, struct timeval *tv, struct timezone *tz);
    int (*epoll_create)(void *userdata, int size);
    int (*epoll_ctl)(void *userdata, int epfd, int op, int fd, struct epoll_event *ev);
    int (*epoll_wait)(void *userdata, int epfd, struct epoll_event *ev, int max, int timeout);
    int (*pipe)(void *userdata, int fds[2]);
    int (*splice)(void *userdata, int in, loff_t *off_in, int out, loff_t *off_out, size_t len,
                  unsigned flags);
};

void packetdrill_interface_init(const char *flags, struct packetdrill_interface *itf);
