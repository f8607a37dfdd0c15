//! The machine a run is made on, for the report's environment stamp.

use crate::journal::entry::Host;

/// Reads the host's kernel, CPU and memory; what cannot be read is named as such.
pub fn describe() -> Host {
    let kernel = nix::sys::utsname::uname().map_or_else(
        |_| "unknown".to_owned(),
        |name| format!("{} {}", name.sysname().to_string_lossy(), name.release().to_string_lossy()),
    );
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    Host {
        kernel,
        cpu: field(&cpuinfo, "model name").unwrap_or("unknown").to_owned(),
        cpus: std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX)),
        memory: kibibytes(&meminfo, "MemTotal"),
    }
}

/// Memory the host can give away now, in bytes (`MemAvailable`, `proc_meminfo(5)`).
pub fn free_memory() -> u64 {
    kibibytes(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default(), "MemAvailable")
}

fn kibibytes(meminfo: &str, name: &str) -> u64 {
    field(meminfo, name).and_then(|value| value.trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// The value of the first `name : value` line.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_read_by_field() {
        assert_eq!(kibibytes("MemTotal:  24 kB\nMemAvailable:   16 kB\n", "MemAvailable"), 16 * 1024);
        assert_eq!(field("cpu family\t: 6\nmodel name\t: A CPU\n", "model name"), Some("A CPU"));
        assert_eq!(field("", "model name"), None);
    }
}
