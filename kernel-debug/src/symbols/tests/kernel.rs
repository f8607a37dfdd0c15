//! Over a real vmlinux, named by `TWINBOOT_VMLINUX`: `cargo test -p twinboot --lib symbols:: -- --ignored`.

use std::path::PathBuf;
use std::process::Command;

use super::names;
use crate::Point;
use crate::symbols::{Kind, PointError, Symbols};

fn image() -> PathBuf {
    PathBuf::from(
        std::env::var_os("TWINBOOT_VMLINUX").expect("TWINBOOT_VMLINUX names a vmlinux with debug information"),
    )
}

fn load() -> Symbols {
    Symbols::load(&image()).expect("the image has debug information")
}

fn lines_of(program: &str, arguments: &[String]) -> Vec<String> {
    let output = Command::new(program).args(arguments).arg(image()).output().expect("the program runs");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
#[ignore = "needs a kernel image"]
fn the_points_of_the_swap_in_path() {
    let symbols = load();
    assert!(symbols.kernel_release().is_some_and(|release| release.contains('.')));
    let read = names("swap_readpage|swap_read_folio");
    let after = symbols.resolve(&Point::After(names("do_swap_page"), read.clone())).expect("do_swap_page reads");
    let before = symbols.resolve(&Point::Before(names("do_swap_page"), read)).expect("do_swap_page reads");
    assert!(!after.addresses.is_empty() && after.left_out.is_empty(), "{after:x?}");
    let ends: Vec<u64> = before.addresses.iter().map(|address| address + 5).collect();
    assert_eq!(after.addresses, ends);
    if symbols.kernel_release().is_some_and(|release| release.starts_with("6.1.")) {
        assert_eq!(after.addresses.len(), 1);
        let misspelt = symbols.resolve(&Point::After(names("do_swap_page"), names("swap_readpge")));
        let Err(PointError::NotCalled { near, calls, .. }) = misspelt else { panic!("{misspelt:?}") };
        assert_eq!(near, ["swap_readpage"]);
        assert!(calls.contains(&"get_swap_device".to_owned()), "{calls:?}");
        let misspelt = symbols.resolve(&Point::Entry(names("swap_readpge")));
        let Err(PointError::NoFunction { near, .. }) = misspelt else { panic!("{misspelt:?}") };
        assert_eq!(near[0], "swap_readpage");
    }
}

#[test]
#[ignore = "needs a kernel image"]
fn boundaries_and_places_agree_with_binutils() {
    let symbols = load();
    let function = symbols.function(&names("do_swap_page")).expect("every kernel with swap has it");
    assert_eq!(function.file.as_deref(), Some("mm/memory.c"));
    let code = symbols.instructions(&function);
    // 448 in 6.1 without the fix, 484 with it.
    assert!((300..900).contains(&code.len()), "{} boundaries in {:x?}", code.len(), function.ranges);
    let mut disassembled = Vec::new();
    for range in &function.ranges {
        let bounds = [format!("--start-address={:#x}", range.start), format!("--stop-address={:#x}", range.end)];
        let lines = lines_of("objdump", &[&["-d".to_owned(), "--no-show-raw-insn".to_owned()], &bounds[..]].concat());
        let addresses = lines.iter().filter_map(|line| u64::from_str_radix(line.trim().split_once(":\t")?.0, 16).ok());
        disassembled.extend(addresses);
    }
    assert_eq!(code.iter().map(|one| one.address).collect::<Vec<_>>(), disassembled);
    let calls = code.iter().filter(|one| matches!(one.kind, Kind::Call(Some(_))));
    assert!(calls.clone().count() > 10 && calls.clone().all(|call| !call.text.contains('+')));

    // `addr2line -i` tells an inlined call's chain as we do, a line for the function and one for the place.
    let addresses: Vec<String> = code.iter().map(|one| format!("{:#x}", one.address)).collect();
    let output = Command::new("addr2line").args(["-a", "-f", "-i", "-e"]).arg(image()).args(&addresses).output();
    let output = output.expect("addr2line runs").stdout;
    let text = String::from_utf8_lossy(&output);
    let mut told: Vec<Vec<(String, String)>> = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("0x") {
            told.push(Vec::new());
        } else if let (Some(chain), Some(place)) = (told.last_mut(), lines.next()) {
            let place = place.split(" (").next().unwrap_or(place);
            chain.push((line.to_owned(), place.to_owned()));
        }
    }
    assert_eq!(told.len(), code.len());
    for (instruction, told) in code.iter().zip(&told) {
        let frames = symbols.locate(instruction.address);
        let names = |at: usize| (frames[at].function.as_str(), told[at].0.as_str());
        assert_eq!(frames.len(), told.len(), "{instruction:x?} {frames:?} {told:?}");
        for at in 0..frames.len() {
            assert!(names(at).0.starts_with(names(at).1), "{frames:?} {told:?}");
            let place = format!("{}:{}", frames[at].file.as_deref().unwrap_or("??"), frames[at].line.unwrap_or(0));
            assert!(told[at].1.ends_with(&place), "{:x} {at}: {place} is not in {:?}", instruction.address, told[at]);
        }
    }
}

#[test]
#[ignore = "needs a kernel image"]
fn lines_agree_with_gdb() {
    let symbols = load();
    let function = symbols.function(&names("do_swap_page")).expect("every kernel with swap has it");
    let first = function.line.expect("its line is known");
    let lines = first..first + 250;
    let mut arguments = vec!["-batch".to_owned()];
    for line in lines.clone() {
        arguments.extend(["-ex".to_owned(), format!("info line mm/memory.c:{line}")]);
    }
    // `Line 3832 of "…/mm/memory.c" starts at address 0x… <…> and ends at …`, or `… but contains no code`.
    let text = lines_of("gdb", &arguments).join(" ").replace("Line ", "\nLine ");
    let mut with_code = 0;
    for line in lines {
        let told = text.lines().find(|told| told.starts_with(&format!("Line {line} of"))).unwrap_or_default();
        let ours = symbols.resolve(&Point::Line("mm/memory.c".to_owned(), line));
        match told.split_once("starts at address 0x").filter(|_| !told.contains("contains no code")) {
            Some((_, rest)) => {
                let digits = rest.split_whitespace().next().unwrap_or_default();
                let start = u64::from_str_radix(digits, 16).expect("an address");
                let ours = ours.expect("gdb finds code there");
                assert!(ours.addresses.contains(&start), "line {line}: {ours:x?}, gdb says {start:x}");
                with_code += 1;
            }
            // gdb counts a line without an instruction of its own as none.
            None => assert!(matches!(ours, Err(PointError::NoLine { .. }) | Ok(_)), "{ours:?}"),
        }
    }
    assert!(with_code > 20, "{with_code} lines with code");
}

#[test]
#[ignore = "needs a kernel image"]
fn the_layout_agrees_with_gdb() {
    let symbols = load();
    let layout = symbols.layout().expect("a kernel that can be held");
    let task = layout.task;
    let state =
        if symbols.kernel_release().is_some_and(|release| release.starts_with("5.10.")) { "state" } else { "__state" };
    let mut asked = vec![
        ("task_struct", "pid", task.pid),
        ("task_struct", "comm", task.comm),
        ("task_struct", state, task.state.0),
        ("task_struct", "thread.sp", task.sp),
        ("task_struct", "stack", task.stack),
        ("task_struct", "tasks", task.tasks),
        ("task_struct", "thread_node", task.thread_node),
        ("task_struct", "signal", task.signal),
        ("signal_struct", "thread_head", task.thread_head),
    ];
    asked.extend(task.on_cpu.map(|offset| ("task_struct", "on_cpu", offset)));
    asked.extend(task.rcu_nesting.map(|offset| ("task_struct", "rcu_read_lock_nesting", offset)));
    let mut arguments = vec!["-batch".to_owned()];
    for (structure, member, _) in &asked {
        arguments.push("-ex".to_owned());
        arguments.push(format!("print (unsigned long)&((struct {structure} *)0)->{member}"));
    }
    let told: Vec<u64> =
        lines_of("gdb", &arguments).iter().filter_map(|line| line.split_once(" = ")?.1.parse().ok()).collect();
    assert_eq!(told, asked.iter().map(|asked| asked.2).collect::<Vec<_>>(), "{asked:?}");
    assert_eq!(task.state.1, if state == "state" { 8 } else { 4 });
    assert_eq!(layout.stack_size % 4096, 0);
    for symbol in [layout.init_task, layout.msleep, layout.per_cpu_offset] {
        assert!(symbol > 0xffff_ffff_8000_0000);
    }
}
