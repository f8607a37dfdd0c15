//! Over a real vmlinux, named by `TWINBOOT_VMLINUX`: `cargo test --release -p twinboot --lib symbols:: -- --ignored`.

use std::path::PathBuf;
use std::time::Instant;

use crate::diagram::Point;
use crate::symbols::Symbols;

fn image() -> PathBuf {
    PathBuf::from(
        std::env::var_os("TWINBOOT_VMLINUX").expect("TWINBOOT_VMLINUX names a vmlinux with debug information"),
    )
}

fn load() -> Symbols {
    Symbols::load(&image()).expect("the image has debug information")
}

fn names(name: &str) -> Vec<String> {
    name.split('|').map(str::to_owned).collect()
}

#[test]
#[ignore = "needs a kernel image"]
fn what_a_diagram_needs() {
    let mut before = Instant::now();
    let mut lap = |what: &str| {
        let spent = before.elapsed();
        before = Instant::now();
        eprintln!("{what}: {spent:?}");
    };
    let symbols = load();
    lap("load");
    eprintln!("{:?} {:?}", symbols.kernel_release(), symbols.banner());
    symbols.units().unwrap();
    lap("units");
    for point in [
        Point::After(names("do_swap_page"), names("swap_readpage|swap_read_folio")),
        Point::After(names("do_swap_page"), names("swap_readpge")),
        Point::Before(names("do_swap_page"), names("swap_readpage|swap_read_folio")),
        Point::Entry(names("do_swap_page")),
        Point::Entry(names("swap_readpge")),
        Point::Entry(names("mm_init")),
        Point::Entry(names("folio_lock")),
        Point::Entry(names("swap_duplicate")),
        Point::Return(names("do_swap_page")),
        Point::Return(names("swap_readpage")),
        Point::After(names("do_swap_page"), names("folio_lock")),
        Point::After(names("do_swap_page"), names("pte_offset_map")),
        Point::After(names("do_swap_page"), names("ksm_might_need_to_copy")),
        Point::Offset(names("do_swap_page"), 0x1f),
        Point::Offset(names("do_swap_page"), 0x20),
        Point::Line("mm/memory.c".to_owned(), 3811),
        Point::Line("memory.c".to_owned(), 3812),
        Point::Line("memroy.c".to_owned(), 3812),
        Point::Line("include/linux/mm.h".to_owned(), 1200),
    ] {
        match symbols.resolve(&point) {
            Ok(resolved) => eprintln!("{} {:x?} {:?}", resolved.taken, resolved.addresses, resolved.left_out),
            Err(error) => eprintln!("{point:?}: {error}"),
        }
        lap("  that");
    }
    let function = symbols.function(&names("do_swap_page")).unwrap();
    let code = symbols.instructions(&function);
    lap("instructions");
    eprintln!("{} {:x?} {:?} {:?} {}", function.name, function.ranges, function.file, function.line, code.len());
    for instruction in code.iter().take(60) {
        let frames = symbols.locate(instruction.address);
        let last = &frames[0];
        eprintln!(
            "{:x} {} {:?} {} {}:{}",
            instruction.address,
            instruction.text,
            instruction.kind,
            last.function,
            last.file.as_deref().unwrap_or(""),
            last.line.unwrap_or(0)
        );
    }
    lap("locate");
    eprintln!("{:x?}", symbols.layout());
    lap("layout");
}
