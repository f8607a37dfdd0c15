//! Swap devices: [/proc/swaps](https://man7.org/linux/man-pages/man5/proc_swaps.5.html),
//! [sysinfo(2)](https://man7.org/linux/man-pages/man2/sysinfo.2.html),
//! [swapon(2)](https://man7.org/linux/man-pages/man2/swapon.2.html).

use twinboot_protocol::SwapDevice;

use super::memory::PAGE_SIZE;
use super::{SysError, c_string, check};

const LIST: &str = "/proc/swaps";

/// One line of `/proc/swaps`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveSwap {
    /// Device node or file.
    pub path: String,
    /// Usable page slots.
    pub slots: u64,
}

/// Every swap device that is on.
pub fn active() -> Result<Vec<ActiveSwap>, SysError> {
    Ok(parse(&super::read(LIST)?))
}

/// Reads the text of `/proc/swaps`: sizes are in KiB, the header's page not included.
pub fn parse(list: &str) -> Vec<ActiveSwap> {
    let line = |line: &str| {
        let mut fields = line.split_whitespace();
        let path = fields.next()?.replace("\\040", " ");
        let kib: u64 = fields.nth(1)?.parse().ok()?;
        Some(ActiveSwap { path, slots: kib * 1024 / PAGE_SIZE as u64 })
    };
    list.lines().skip(1).filter_map(line).collect()
}

/// Free slots over all devices, in pages. A slot held in a per-CPU cache counts as used.
pub fn free_slots() -> Result<u64, SysError> {
    // SAFETY: an all-zero sysinfo is a valid value for the kernel to overwrite.
    let mut info: libc::sysinfo = unsafe { std::mem::zeroed() };
    // SAFETY: `info` is a valid sysinfo to fill.
    let result = unsafe { libc::sysinfo(&raw mut info) };
    check(result, "sysinfo", "free swap")?;
    Ok(info.freeswap * u64::from(info.mem_unit) / PAGE_SIZE as u64)
}

/// Switches a prepared device on.
pub fn switch_on(path: &str) -> Result<(), SysError> {
    let node = c_string(path, "swapon")?;
    // SAFETY: `node` is a C string that outlives the call.
    let result = unsafe { libc::swapon(node.as_ptr(), 0) };
    check(result, "swapon", path).map(|_| ())
}

/// Switches a device off, which brings everything on it back into memory.
pub fn switch_off(path: &str) -> Result<(), SysError> {
    let node = c_string(path, "swapoff")?;
    // SAFETY: `node` is a C string that outlives the call.
    let result = unsafe { libc::swapoff(node.as_ptr()) };
    check(result, "swapoff", path).map(|_| ())
}

/// What sysfs tells about a swap device beyond its size.
pub fn describe(swap: &ActiveSwap) -> SwapDevice {
    let name = swap.path.rsplit('/').next().unwrap_or_default();
    let attribute = |file: &str| super::read(&format!("/sys/block/{name}/{file}")).ok();
    let backing = attribute("backing_dev");
    SwapDevice {
        path: swap.path.clone(),
        algorithm: attribute("comp_algorithm").and_then(|list| chosen(&list).map(str::to_owned)),
        slots: swap.slots,
        synchronous: synchronous(name, backing.as_deref().map(str::trim)),
    }
}

/// Whether the driver of block device `name` does its I/O before it returns. sysfs doesn't show the flag, the
/// driver tells it: zram and brd always have, except that some kernels clear it on a zram with a backing device.
fn synchronous(name: &str, backing: Option<&str>) -> Option<bool> {
    let writeback = backing.is_some_and(|device| device != "none");
    match name.trim_end_matches(|c: char| c.is_ascii_digit()) {
        "zram" if !writeback => Some(true),
        "ram" | "pmem" => Some(true),
        "vda" | "vdb" | "vdc" | "sda" | "sdb" => Some(false),
        _ => None,
    }
}

/// The choice in brackets of a sysfs list such as `lzo [lzo-rle] lz4`.
pub fn chosen(list: &str) -> Option<&str> {
    list.split_whitespace().find_map(|word| word.strip_prefix('[')?.strip_suffix(']'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SWAPS: &str = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n\
        /dev/zram0                              partition\t60\t\t56\t\t-2\n\
        /swap\\040file                           file\t\t1024\t\t0\t\t-3\n";

    #[test]
    fn sizes_become_slots() {
        let swaps = parse(SWAPS);
        assert_eq!(swaps[0], ActiveSwap { path: "/dev/zram0".into(), slots: 15 });
        assert_eq!(swaps[1], ActiveSwap { path: "/swap file".into(), slots: 256 });
        assert_eq!(parse("Filename Type Size Used Priority\n"), []);
    }

    #[test]
    fn the_choice_stands_in_brackets() {
        assert_eq!(chosen("lzo [lzo-rle] lz4"), Some("lzo-rle"));
        assert_eq!(chosen("lzo lz4"), None);
    }

    #[test]
    fn only_what_the_driver_promises_is_claimed() {
        assert_eq!(synchronous("zram0", Some("none")), Some(true));
        assert_eq!(synchronous("zram0", Some("/dev/vda")), None);
        assert_eq!(synchronous("ram0", None), Some(true));
        assert_eq!(synchronous("vda", None), Some(false));
        assert_eq!(synchronous("nvme0n1", None), None);
    }
}
