//! Stacks of a program that writes down its own.

use std::collections::HashMap;
use std::process::Command;

use super::Program;
use crate::symbols::Start;

/// `innermost` writes its registers, the stack above it, and what each caller's return address is, as `name value`.
const SOURCE: &str = r#"
#include <stdio.h>
#include <string.h>
#include <alloca.h>
typedef unsigned long word;
#define CALLER(name) printf("%s %lx\n", name, (word)__builtin_return_address(0))
word registers[8];
word *bottom;
__attribute__((noinline)) void innermost(void)
{
	__asm__ volatile ("lea 0(%%rip), %%rax\n\tmov %%rax, %0\n\tmov %%rsp, 8+%0\n\tmov %%rbp, 16+%0\n\t"
			  "mov %%rbx, 24+%0\n\tmov %%r12, 32+%0\n\tmov %%r13, 40+%0\n\tmov %%r14, 48+%0\n\tmov %%r15, 56+%0"
			  : "=m" (registers) : : "rax", "memory");
	CALLER("innermost");
	for (int i = 0; i < 8; i++)
		printf("register%d %lx\n", i, registers[i]);
	for (word *at = (word *)registers[1]; at < bottom; at++)
		printf("%lx %lx\n", (word)at, *at);
}
#ifdef ASSEMBLY
/* A function in assembly, without frame information, that keeps something on its stack. */
void thunk(void);
__asm__ (".text\n.type thunk, @function\nthunk:\n\tpush %rsi\n\tpush %rdi\n\tsub $8, %rsp\n\tcall innermost\n\t"
	 "add $8, %rsp\n\tpop %rdi\n\tpop %rsi\n\tret\n.size thunk, . - thunk\n");
#else
#define thunk innermost
#endif
__attribute__((noinline)) int aligned(int x)
{
	int wide[16] __attribute__((aligned(64)));
	memset(wide, x, sizeof(wide));
	__asm__ volatile ("" : : "r" (wide) : "memory");
	CALLER("aligned");
	thunk();
	return wide[x];
}
__attribute__((noinline)) int grown(int x)
{
	char *space = alloca(x * 40);
	memset(space, x, x * 40);
	__asm__ volatile ("" : : "r" (space) : "rbx", "r12", "memory");
	CALLER("grown");
	return aligned(x) + space[x];
}
__attribute__((noinline)) int pushed(int a)
{
	__asm__ volatile ("" : : : "rbx", "rbp", "r12", "r13", "r14", "r15");
	CALLER("pushed");
	return grown(a) + a;
}
int main(int argc, char **argv)
{
	bottom = (word *)__builtin_frame_address(0) + 64;
	return pushed(argc + 1) & 0;
}
"#;

fn unwound(extra: &[&str]) -> (Program, Vec<u64>, HashMap<String, u64>) {
    let program = Program::compile(SOURCE, &[&["-g"], extra].concat());
    let output = Command::new(&program.binary).output().expect("the program runs");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("it writes plain text");
    let words: HashMap<String, u64> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, value)| (name.to_owned(), u64::from_str_radix(value, 16).expect("a hexadecimal number")))
        .collect();
    let register = |number: usize| words[&format!("register{number}")];
    let start = Start {
        ip: register(0),
        sp: register(1),
        bp: Some(register(2)),
        bx: Some(register(3)),
        r12_to_r15: [4, 5, 6, 7].map(|number| Some(register(number))),
    };
    let frames = program.symbols.unwind(start, &mut |address| words.get(&format!("{address:x}")).copied());
    (program, frames, words)
}

#[test]
fn saved_registers_grown_and_aligned_frames_are_followed() {
    let (program, frames, words) = unwound(&[]);
    let expected = ["register0", "innermost", "aligned", "grown", "pushed"].map(|name| words[name]);
    assert_eq!(frames, expected, "{frames:x?} {expected:x?}");
    let stack = program.symbols.stack(&frames);
    let told: Vec<&str> = stack.iter().map(|frame| frame.function.as_str()).collect();
    assert_eq!(told, ["innermost", "aligned", "grown", "pushed", "main"]);
    assert_eq!(stack[3].line, Some(program.line("return grown(a) + a;")));
}

#[test]
fn assembly_without_frame_information_is_got_over() {
    let (program, frames, words) = unwound(&["-DASSEMBLY"]);
    let told: Vec<String> = program.symbols.stack(&frames).into_iter().map(|frame| frame.function).collect();
    assert_eq!(told, ["innermost", "thunk", "aligned", "grown", "pushed", "main"]);
    assert_eq!(frames[3..], ["aligned", "grown", "pushed"].map(|name| words[name]));
}

#[test]
fn a_stack_that_cannot_be_read_ends_at_once() {
    let (program, frames, words) = unwound(&[]);
    let start = Start::new(frames[0], words["register1"], words["register2"]);
    assert_eq!(program.symbols.unwind(start, &mut |_| None), [frames[0]]);
}

#[test]
fn a_sleeping_task_begins_where_the_scheduler_left_it() {
    let stack: Vec<u64> = vec![15, 14, 13, 12, 0xb, 0xb9, 0x40_1000, 7];
    let mut read = |address: u64| stack.get(usize::try_from((address - 0x1000) / 8).ok()?).copied();
    let start = Start::asleep(0x1000, &mut read).expect("the stack can be read");
    let expected =
        Start { ip: 0x40_1000, sp: 0x1038, bp: Some(0xb9), bx: Some(0xb), r12_to_r15: [12, 13, 14, 15].map(Some) };
    assert_eq!(start, expected);
}
