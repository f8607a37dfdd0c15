//! The swap device that the plan asks for: Documentation/admin-guide/blockdev/zram.rst, ramdisk.rst.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use twinboot_protocol::SwapConfig;

use super::SetupError;
use super::header::{LEAST_PAGES, header};
use crate::sys::memory::PAGE_SIZE;
use crate::sys::{self, SysError, block, swaps};

const ZRAM: &str = "/dev/zram0";
const ZRAM_SYSFS: &str = "/sys/block/zram0";
const BRD: &str = "/dev/ram0";

/// Creates the device, writes a swap header and switches it on.
pub fn enable(config: &SwapConfig) -> Result<(), SetupError> {
    let (node, size) = match config {
        SwapConfig::Zram { size, algorithm } => (ZRAM, zram(*size, algorithm)?),
        SwapConfig::Brd { size } => (BRD, *size),
    };
    if !Path::new(node).exists() {
        return Err(SetupError::NoDevice { node: node.to_owned(), option: "CONFIG_BLK_DEV_RAM" });
    }
    write_header(node, size)?;
    swaps::switch_on(node)?;
    Ok(())
}

/// Sets the compressor and the size, in this order: the kernel takes no other. Returns the size in bytes.
fn zram(size: u64, algorithm: &str) -> Result<u64, SetupError> {
    if !Path::new(ZRAM_SYSFS).is_dir() {
        return Err(SetupError::NoDevice { node: ZRAM_SYSFS.to_owned(), option: "CONFIG_ZRAM" });
    }
    let list = format!("{ZRAM_SYSFS}/comp_algorithm");
    let offered = sys::read(&list)?;
    if !offers(&offered, algorithm) {
        let offered = offered.trim().to_owned();
        return Err(SetupError::NoCompressor { wanted: algorithm.to_owned(), offered });
    }
    sys::write(&list, algorithm)?;
    sys::write(&format!("{ZRAM_SYSFS}/disksize"), &size.to_string())?;
    Ok(size)
}

/// Whether a `comp_algorithm` list such as `lzo [lzo-rle] lz4` holds `algorithm`.
fn offers(list: &str, algorithm: &str) -> bool {
    list.split_whitespace().any(|word| word.trim_matches(['[', ']']) == algorithm)
}

/// Makes the first `size` bytes of `node` a swap area. The kernel goes by the header: a device may be larger.
fn write_header(node: &str, size: u64) -> Result<(), SetupError> {
    let open = |source| SysError::new("open", node, source);
    let mut device = File::options().read(true).write(true).open(node).map_err(open)?;
    let pages = area_pages(node, size, block::size(&device, node)?)?;
    let write = |source| SysError::new("write", node, source);
    device.write_all(&header(pages, *b"twinboot-swap\0\0\0")).map_err(write)?;
    device.sync_all().map_err(write)?;
    Ok(())
}

/// Pages of an area of `size` bytes on a device of `capacity` bytes.
fn area_pages(node: &str, size: u64, capacity: u64) -> Result<u32, SetupError> {
    let impossible = |why: String| SetupError::SwapSize { node: node.to_owned(), wanted: size, why };
    if size > capacity {
        let why = format!("the device has {capacity} (brd: boot with ramdisk_size=<KiB>)");
        return Err(impossible(why));
    }
    let pages = size / PAGE_SIZE as u64;
    if pages < LEAST_PAGES {
        return Err(impossible(format!("it takes at least {LEAST_PAGES} pages of {PAGE_SIZE}")));
    }
    u32::try_from(pages).map_err(|_| impossible("the header counts pages in 32 bits".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressors_are_whole_words() {
        assert!(offers("lzo [lzo-rle] lz4\n", "lzo-rle"));
        assert!(offers("lzo [lzo-rle] lz4\n", "lz4"));
        assert!(!offers("lzo [lzo-rle] lz4\n", "lz"));
        assert!(!offers("lzo [lzo-rle] lz4\n", ""));
    }

    #[test]
    fn sizes_that_cannot_be_are_refused_with_the_limit() {
        assert_eq!(area_pages("/dev/ram0", 65536, 65536).expect("fits"), 16);
        let large = area_pages("/dev/ram0", 8 << 20, 4 << 20).expect_err("too large").to_string();
        assert!(large.contains("4194304") && large.contains("ramdisk_size"), "{large}");
        assert!(area_pages("/dev/ram0", 4096, 65536).is_err());
        assert!(area_pages("/dev/ram0", u64::MAX, u64::MAX).is_err());
    }
}
