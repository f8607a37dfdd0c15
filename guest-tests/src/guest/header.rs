//! The first page of a swap area: `union swap_header`, include/linux/swap.h; mkswap(8).

use crate::sys::memory::PAGE_SIZE;

/// Where the version-1 part begins; boot sectors may lie before it.
const INFO: usize = 1024;

/// Stands at the very end of the page.
const MAGIC: &[u8; 10] = b"SWAPSPACE2";

/// Smallest area the kernel takes: the header and one slot.
pub const LEAST_PAGES: u64 = 2;

/// The header of an area of `pages` pages, itself included, without bad pages, with this UUID. The last page's number is a
/// 32-bit field.
pub fn header(pages: u32, uuid: [u8; 16]) -> [u8; PAGE_SIZE] {
    let mut page = [0; PAGE_SIZE];
    let mut put = |offset: usize, bytes: &[u8]| page[offset..offset + bytes.len()].copy_from_slice(bytes);
    let (version, last_page, bad_pages) = (1_u32, pages - 1, 0_u32);
    put(INFO, &version.to_ne_bytes());
    put(INFO + 4, &last_page.to_ne_bytes());
    put(INFO + 8, &bad_pages.to_ne_bytes());
    put(INFO + 12, &uuid);
    put(PAGE_SIZE - MAGIC.len(), MAGIC);
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_where_the_kernel_looks() {
        let page = header(16, [0xab; 16]);
        assert!(page[..1024].iter().all(|&byte| byte == 0));
        assert_eq!(page[1024..1036], [1, 0, 0, 0, 15, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(page[1036..1052], [0xab; 16]);
        assert!(page[1052..4086].iter().all(|&byte| byte == 0));
        assert_eq!(&page[4086..], b"SWAPSPACE2");
    }
}
