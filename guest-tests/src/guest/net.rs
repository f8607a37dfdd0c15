//! The network. The kernel's own `ip=` option sets eth0 up before the init starts
//! (Documentation/admin-guide/nfs/nfsroot.rst); the init only sees to the loopback and checks.

use std::path::Path;

use super::SetupError;
use crate::sys::{self, netif};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ip_option_counts() {
        assert_eq!(ip_option("console=ttyS0 ip=10.0.2.15::10.0.2.2 quiet"), Some("ip=10.0.2.15::10.0.2.2"));
        assert_eq!(ip_option("ip=dhcp ip=off"), None);
        assert_eq!(ip_option("console=ttyS0 zip=1"), None);
    }
}
