//! Points, instructions and places in a program that has all the shapes a kernel's functions take.

use super::{Program, build, names};
use crate::Point;
use crate::symbols::{Error, Kind, PointError, Symbols};

const SOURCE: &str = r#"
#include <stdio.h>
#include <stdlib.h>
struct pair { int a, b, c[100]; };
volatile int seen;
static inline __attribute__((always_inline)) void noted(int x)
{
	seen = x;	/* the note */
	seen = x + 1;
}
__attribute__((noinline)) int leaf(int x)
{
	__asm__ volatile ("" : "+r" (x));
	return x * 3;
}
__attribute__((cold, noinline)) void complain(int x)
{
	fprintf(stderr, "%d\n", x);
}
static __attribute__((noinline)) int scaled(int x, int by)
{
	__asm__ volatile ("" : "+r" (x));
	return leaf(x / by) + seen;
}
static __attribute__((noinline)) int first_of(struct pair *pair, int unused)
{
	return leaf(pair->a) + 1;
}
__attribute__((noinline)) int hand_over(int x)
{
	noted(x);
	return leaf(x + 1);
}
__attribute__((noinline)) int work(int x)
{
	struct pair pair = { x };
	int sum = leaf(x);	/* the first call */
	if (__builtin_expect(x > 1000, 0)) {
		complain(x);
		sum += leaf(sum);	/* the rare call */
		complain(sum);
	}
	sum += scaled(sum, 7);
	noted(sum);
	sum += first_of(&pair, 3);
	return sum;
}
int chosen(int x)
{
	if (x > 5)
		noted(x);
	return leaf(x) + seen;	/* reached both ways */
}
static int forgotten(int x)
{
	return x;
}
int main(int argc, char **argv)
{
	return forgotten(0) + work(argc) + scaled(argc, 7) + hand_over(argc) + chosen(argc);
}
"#;

fn program() -> Program {
    Program::compile(SOURCE, &["-g", "-gdwarf-4"])
}

fn after(function: &str, callee: &str) -> Point {
    Point::After(names(function), names(callee))
}

#[test]
fn behind_every_call_in_all_pieces() {
    for dwarf in ["-gdwarf-4", "-gdwarf-5"] {
        let program = Program::compile(SOURCE, &["-g", dwarf]);
        let work = program.symbols.function(&names("work")).expect("work exists");
        assert!(work.pieces.iter().any(|piece| piece.name == "work.cold"), "{:?}", work.pieces);
        assert_eq!(work.file.as_deref(), Some("mm/program.c"));
        let resolved = program.symbols.resolve(&after("work", "nothing|leaf")).expect("work calls leaf");
        assert_eq!(resolved.taken, "work: after leaf");
        assert_eq!(resolved.addresses.len(), 2, "{resolved:x?}");
        let mut lines = Vec::new();
        for address in &resolved.addresses {
            let code = program.symbols.instructions(&work);
            let call = code.iter().find(|instruction| instruction.end() == *address).expect("something is before it");
            assert_eq!(call.text, "call leaf");
            lines.extend(program.symbols.locate(call.address)[0].line);
        }
        lines.sort_unstable();
        assert_eq!(lines, [program.line("the first call"), program.line("the rare call")]);
        let before = program.symbols.resolve(&Point::Before(names("work"), names("leaf"))).expect("work calls leaf");
        let ends: Vec<u64> = before.addresses.iter().map(|address| address + 5).collect();
        assert_eq!(ends, resolved.addresses);
    }
}

#[test]
fn clones_count_as_the_function_they_are_made_of() {
    let program = program();
    let scaled = program.symbols.function(&names("scaled")).expect("a clone of it exists");
    assert_eq!(scaled.pieces[0].name, "scaled.constprop.0");
    assert_eq!(program.symbols.resolve(&after("work", "scaled")).expect("work calls the clone").addresses.len(), 1);
    let isra = program.symbols.function(&names("first_of")).expect("a clone of it exists");
    // Newer compilers stack the two: `first_of.constprop.0.isra.0`.
    let clone = isra.pieces[0].name.as_str();
    assert!(clone.starts_with("first_of.") && clone.contains(".isra."), "{clone}");
    let entry = program.symbols.resolve(&Point::Entry(names("first_of"))).expect("it has an entry");
    assert_eq!(entry.addresses, [program.symbols.address(clone).expect("its symbol")]);
}

#[test]
fn a_tail_call_has_nothing_behind_it_and_is_a_return() {
    let program = program();
    let error = program.symbols.resolve(&after("hand_over", "leaf")).expect_err("a tail call");
    assert_eq!(error, PointError::TailCall { function: "hand_over".into(), callee: "leaf".into() });
    let before = program.symbols.resolve(&Point::Before(names("hand_over"), names("leaf"))).expect("the jump");
    let ends = program.symbols.resolve(&Point::Return(names("hand_over"))).expect("the jump");
    assert_eq!(before.addresses, ends.addresses);
    let leaf = program.symbols.function(&names("leaf")).expect("leaf exists");
    let code = program.symbols.instructions(&leaf);
    let returns: Vec<u64> = code.iter().filter(|one| one.kind == Kind::Return).map(|one| one.address).collect();
    assert_eq!(program.symbols.resolve(&Point::Return(names("leaf"))).expect("it returns").addresses, returns);
    assert_eq!(returns.len(), 1);
}

#[test]
fn inlined_copies_have_entries_and_ends() {
    let program = program();
    let noted = program.symbols.function(&names("noted")).expect("it is inlined in three places");
    let mut into: Vec<&str> = noted.pieces.iter().filter_map(|piece| piece.into.as_deref()).collect();
    into.sort_unstable();
    into.dedup();
    assert_eq!(into, ["chosen", "hand_over", "work"]);
    assert_eq!(
        program.symbols.resolve(&Point::Entry(names("noted"))).expect("entries").addresses.len(),
        noted.pieces.len()
    );

    let resolved = program.symbols.resolve(&after("hand_over", "noted")).expect("straight code behind the copy");
    let hand_over = program.symbols.function(&names("hand_over")).expect("it exists");
    let copy = noted.pieces.iter().find(|piece| piece.into.as_deref() == Some("hand_over")).expect("the copy");
    let [end] = resolved.addresses[..] else { panic!("one end: {resolved:x?}") };
    assert!(hand_over.contains(end) && !copy.contains(end), "{end:x} {copy:x?}");

    let error = program.symbols.resolve(&after("chosen", "noted")).expect_err("its end is reached without it too");
    assert!(matches!(&error, PointError::Mixed { callee, .. } if callee == "noted"), "{error}");
}

#[test]
fn lines_in_inlined_copies_and_lines_without_code() {
    let program = program();
    let note = program.line("the note");
    let resolved = program.symbols.resolve(&Point::Line("program.c".into(), note)).expect("the line has code");
    assert_eq!(resolved.taken, format!("mm/program.c:{note}"));
    for function in ["work", "hand_over", "chosen"] {
        let range = program.symbols.function(&names(function)).expect("it exists");
        assert!(resolved.addresses.iter().any(|address| range.contains(*address)), "not in {function}: {resolved:x?}");
    }
    let declaration = program.line("struct pair {");
    let error = program.symbols.resolve(&Point::Line("mm/program.c".into(), declaration)).expect_err("no code");
    let PointError::NoLine { before: None, after: Some(after), .. } = error else { panic!("{error:?}") };
    assert!((declaration..=note).contains(&after));
    let error = program.symbols.resolve(&Point::Line("mm/progarm.c".into(), 1)).expect_err("no such file");
    assert_eq!(error, PointError::NoFile { file: "mm/progarm.c".into(), near: vec!["mm/program.c".into()] });
}

#[test]
fn offsets_are_instruction_boundaries() {
    let program = program();
    let work = program.symbols.function(&names("work")).expect("it exists");
    let code = program.symbols.instructions(&work);
    let long = code.iter().find(|one| one.address > work.start && one.len > 2).expect("a long instruction");
    let offset = long.address - work.start;
    let resolved = program.symbols.resolve(&Point::Offset(names("work"), offset)).expect("a boundary");
    assert_eq!(resolved.addresses, [long.address]);
    let error = program.symbols.resolve(&Point::Offset(names("work"), offset + 1)).expect_err("inside an instruction");
    let PointError::NotBoundary { before, after, .. } = error else { panic!("{error:?}") };
    assert_eq!((before, after), (Some(offset), Some(offset + u64::from(long.len))));
}

#[test]
fn what_does_not_exist_is_told_with_what_does() {
    let program = program();
    let error = program.symbols.resolve(&Point::Entry(names("scalled"))).expect_err("a misspelt name");
    assert_eq!(error.to_string(), "there is no function `scalled` in this kernel; did you mean `scaled`?");
    let error = program.symbols.resolve(&after("hand_over", "laef")).expect_err("a misspelt callee");
    let PointError::NotCalled { near, calls, inlined, .. } = &error else { panic!("{error:?}") };
    assert_eq!(
        (near[0].as_str(), calls.as_slice(), inlined.as_slice()),
        ("leaf", &names("leaf")[..], &names("noted")[..])
    );
    let error = program.symbols.resolve(&Point::Entry(names("forgotten"))).expect_err("nothing of it is left");
    assert!(matches!(&error, PointError::OptimisedOut { name, .. } if name == "forgotten"), "{error}");
}

#[test]
fn an_address_is_told_from_the_inside_out() {
    let program = program();
    let note = program.line("the note");
    let resolved = program.symbols.resolve(&Point::Line("program.c".into(), note)).expect("the line has code");
    let hand_over = program.symbols.function(&names("hand_over")).expect("it exists");
    let address = *resolved.addresses.iter().find(|address| hand_over.contains(**address)).expect("inlined there");
    let frames = program.symbols.locate(address);
    let told: Vec<(&str, Option<u64>)> = frames.iter().map(|frame| (frame.function.as_str(), frame.offset)).collect();
    assert_eq!(told, [("noted", None), ("hand_over", Some(address - hand_over.start))]);
    assert_eq!(frames[0].line, Some(note));
    assert_eq!(frames[1].file.as_deref(), Some("mm/program.c"));
    assert_eq!(frames[1].line, Some(program.line("noted(x);")));
    let placed = program.symbols.function_at(address).expect("a function is there");
    assert_eq!((placed.name.as_str(), placed.start), ("hand_over", hand_over.start));
    assert!(program.symbols.locate(8).is_empty());
}

#[test]
fn an_image_without_debug_information_names_the_fragment() {
    let program = program();
    let folder = program.binary.parent().expect("it is in a folder");
    let bare = build(folder, "bare", &["-g0"]);
    let error = Symbols::load(&bare).expect_err("no debug information");
    assert!(matches!(error, Error::NoDebugInfo { .. }));
    assert!(error.to_string().contains("kernels/config/symbols.config"), "{error}");
    assert!(!Symbols::has_debug_info(&bare).expect("an ELF file"));
    assert!(Symbols::has_debug_info(&program.binary).expect("an ELF file"));
    let packed = build(folder, "packed", &["-g", "-gz=zlib"]);
    let error = Symbols::load(&packed).expect_err("compressed");
    assert!(error.to_string().contains("CONFIG_DEBUG_INFO_COMPRESSED"), "{error}");
}
