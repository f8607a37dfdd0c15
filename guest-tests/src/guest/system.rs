//! Filesystems, the configuration file, sysctls.

use twinboot_protocol::{GUEST_CONFIG_PATH, GuestConfig, VERSION};

use super::SetupError;
use crate::sys::{self, SysError, mount};

/// Mounts what every program expects. `/dev` may already be there; debugfs only where the kernel has it.
pub fn mount_all() -> Result<(), SysError> {
    mount::mount("proc", "/proc", "")?;
    mount::mount("sysfs", "/sys", "")?;
    match mount::mount("devtmpfs", "/dev", "mode=0755") {
        Err(error) if error.source.raw_os_error() != Some(libc::EBUSY) => return Err(error),
        _ => {}
    }
    mount::mount("devpts", "/dev/pts", "mode=0620,ptmxmode=0666")?;
    mount::mount("tmpfs", "/tmp", "mode=1777")?;
    mount::mount("tmpfs", "/run", "mode=0755")?;
    if std::path::Path::new("/sys/kernel/debug").is_dir() {
        mount::mount("debugfs", "/sys/kernel/debug", "")?;
    }
    Ok(())
}

/// Lets the console show kmemleak's findings, which have the level of mere information (mm/kmemleak.c), where the kernel
/// has kmemleak. Elsewhere the console stays at warnings: it is slow.
pub fn show_leaks() -> Result<(), SysError> {
    if std::path::Path::new("/sys/kernel/debug/kmemleak").exists() {
        // `console_loglevel`: everything above debug messages (Documentation/admin-guide/sysctl/kernel.rst).
        sys::write("/proc/sys/kernel/printk", "7")?;
    }
    Ok(())
}

/// Reads the configuration that the host put into the image.
pub fn load_config() -> Result<GuestConfig, SetupError> {
    parse_config(&sys::read(GUEST_CONFIG_PATH)?)
}

/// Reads a configuration. The version is looked at first: another one may have another shape.
pub fn parse_config(text: &str) -> Result<GuestConfig, SetupError> {
    let wrong = |source| SetupError::Config { path: GUEST_CONFIG_PATH, source };
    let value: serde_json::Value = serde_json::from_str(text).map_err(wrong)?;
    match value.get("protocol").and_then(serde_json::Value::as_u64) {
        Some(found) if found != u64::from(VERSION) => Err(SetupError::Protocol { found, known: VERSION }),
        _ => serde_json::from_value(value).map_err(wrong),
    }
}

/// Writes every sysctl, in order.
pub fn write_sysctls(settings: &[(String, String)]) -> Result<(), SysError> {
    settings.iter().try_for_each(|(name, value)| sys::write(&sysctl_path(name), value))
}

/// File of a sysctl. Dots separate, and slashes stand for dots inside a name, as in sysctl(8).
fn sysctl_path(name: &str) -> String {
    let file: String = name
        .chars()
        .map(|c| match c {
            '.' => '/',
            '/' => '.',
            other => other,
        })
        .collect();
    format!("/proc/sys/{file}")
}

#[cfg(test)]
mod tests {
    use twinboot_protocol::SwapConfig;

    use super::*;

    #[test]
    fn a_configuration_is_read_whole() {
        let text = r#"{"protocol":1,"swap":{"zram":{"size":65536,"algorithm":"lzo-rle"}},"sysctl":[["vm.swappiness","100"]],"seed":7}"#;
        let config = parse_config(text).expect("a configuration");
        assert_eq!(config.swap, Some(SwapConfig::Zram { size: 65536, algorithm: "lzo-rle".into() }));
        assert_eq!((config.seed, config.sysctl.len()), (7, 1));
    }

    #[test]
    fn another_version_is_refused_before_its_shape_matters() {
        let error = parse_config(r#"{"protocol":2,"shape":"new"}"#).expect_err("another version");
        assert!(matches!(error, SetupError::Protocol { found: 2, .. }), "{error:?}");
        assert!(matches!(parse_config("{}"), Err(SetupError::Config { .. })));
        assert!(matches!(parse_config("not json"), Err(SetupError::Config { .. })));
    }

    #[test]
    fn sysctl_names_become_paths() {
        assert_eq!(sysctl_path("vm.page-cluster"), "/proc/sys/vm/page-cluster");
        assert_eq!(sysctl_path("net.ipv4.conf.eth0/1.rp_filter"), "/proc/sys/net/ipv4/conf/eth0.1/rp_filter");
    }
}
