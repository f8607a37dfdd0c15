//! Network interfaces: [netdevice(7)](https://man7.org/linux/man-pages/man7/netdevice.7.html).

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::{SysError, check};

/// An ioctl(2) conversation about one interface.
struct Interface {
    socket: OwnedFd,
    name: String,
    request: libc::ifreq,
}

impl Interface {
    fn new(name: &str) -> Result<Self, SysError> {
        // SAFETY: takes no pointers.
        let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
        let socket = check(socket, "socket", name)?;
        // SAFETY: an all-zero ifreq is valid.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes().take(libc::IFNAMSIZ - 1)) {
            *to = from.cast_signed();
        }
        // SAFETY: the kernel just made this descriptor for us alone.
        Ok(Self { socket: unsafe { OwnedFd::from_raw_fd(socket) }, name: name.to_owned(), request })
    }

    fn ioctl(&mut self, code: libc::c_ulong, call: &'static str) -> Result<(), SysError> {
        // SAFETY: every SIOC[GS]IF* call reads and writes one ifreq.
        let result = unsafe { libc::ioctl(self.socket.as_raw_fd(), code as _, &raw mut self.request) };
        check(result, call, self.name.as_str()).map(|_| ())
    }
}

/// Sets the interface's `IFF_UP` flag.
pub fn bring_up(name: &str) -> Result<(), SysError> {
    let mut interface = Interface::new(name)?;
    interface.ioctl(libc::SIOCGIFFLAGS, "ioctl(SIOCGIFFLAGS)")?;
    #[expect(clippy::cast_possible_truncation, reason = "IFF_UP is 1 and ifr_flags is a short")]
    let up = libc::IFF_UP as libc::c_short;
    // SAFETY: SIOCGIFFLAGS filled the flags of the union.
    unsafe { interface.request.ifr_ifru.ifru_flags |= up };
    interface.ioctl(libc::SIOCSIFFLAGS, "ioctl(SIOCSIFFLAGS)")
}

/// The interface's IPv4 address; none if it has no address yet.
pub fn address(name: &str) -> Result<Option<Ipv4Addr>, SysError> {
    let mut interface = Interface::new(name)?;
    if let Err(error) = interface.ioctl(libc::SIOCGIFADDR, "ioctl(SIOCGIFADDR)") {
        return if error.source.raw_os_error() == Some(libc::EADDRNOTAVAIL) { Ok(None) } else { Err(error) };
    }
    // SAFETY: SIOCGIFADDR filled the address of the union; on an AF_INET socket it is a sockaddr_in.
    let data = unsafe { interface.request.ifr_ifru.ifru_addr.sa_data };
    let [_, _, a, b, c, d, ..] = data.map(i8::cast_unsigned);
    Ok(Some(Ipv4Addr::new(a, b, c, d)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_that_is_not_there_is_an_error() {
        let error = address("nosuch0").expect_err("no such interface");
        assert_eq!(error.source.raw_os_error(), Some(libc::ENODEV));
    }
}
