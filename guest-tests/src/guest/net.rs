//! The network. The kernel's own `ip=` option sets eth0 up before the init starts
//! (Documentation/admin-guide/nfs/nfsroot.rst); the init only sees to the loopback and checks.

use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;

use super::SetupError;
use crate::sys::{self, netif};

/// The discard port (RFC 863).
const DISCARD: u16 = 9;

/// Brings the loopback up, and eth0 to account if the kernel was told to configure it.
pub fn check() -> Result<(), SetupError> {
    netif::bring_up("lo")?;
    let command_line = sys::read("/proc/cmdline")?;
    let Some(option) = ip_option(&command_line) else { return Ok(()) };
    if Path::new("/sys/class/net/eth0").exists() && netif::address("eth0")?.is_none() {
        return Err(SetupError::NoAddress { option: option.to_owned() });
    }
    Ok(())
}

/// The `ip=` option of a kernel command line, unless it says that nothing is to be configured.
fn ip_option(command_line: &str) -> Option<&str> {
    let option = command_line.split_whitespace().rfind(|word| word.starts_with("ip="))?;
    (!matches!(option, "ip=off" | "ip=none")).then_some(option)
}

/// Sends the gateway, behind which the host is, a datagram that comes to nothing: what counts is that the kernel asks for the
/// gateway's hardware address first. A guest that is saved with it does not have to ask in each of its clones.
pub fn greet_gateway() {
    let gateway = sys::read("/proc/cmdline").ok().and_then(|line| gateway(&line));
    if let Some(gateway) = gateway
        && let Ok(socket) = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
    {
        let _ = socket.send_to(&[0], (gateway, DISCARD));
    }
}

/// The gateway that a kernel command line names: the third field of `ip=`, behind the guest's own address and a server's.
fn gateway(command_line: &str) -> Option<Ipv4Addr> {
    ip_option(command_line)?.strip_prefix("ip=")?.split(':').nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_is_the_third_field() {
        let line = "quiet ip=10.0.2.15::10.0.2.2:255.255.255.0::eth0:off panic=-1";
        assert_eq!(gateway(line), Some(Ipv4Addr::new(10, 0, 2, 2)));
        for line in ["quiet", "ip=dhcp", "ip=10.0.2.15:::255.255.255.0", "ip=off"] {
            assert_eq!(gateway(line), None, "{line}");
        }
    }

    #[test]
    fn the_last_ip_option_counts() {
        assert_eq!(ip_option("console=ttyS0 ip=10.0.2.15::10.0.2.2 quiet"), Some("ip=10.0.2.15::10.0.2.2"));
        assert_eq!(ip_option("ip=dhcp ip=off"), None);
        assert_eq!(ip_option("console=ttyS0 zip=1"), None);
    }
}
