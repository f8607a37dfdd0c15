//! The points of a sweep, from the swept functions and the victim's path. Pure.

use std::collections::{BTreeSet, HashMap};

use super::code_path::{CodeUnit, ExecutionPath};
use crate::journal::interleaving::SweepPoint;
use kernel_debug::Frame;
use kernel_debug::symbols::Kind;

/// The instructions of the swept functions, sorted by address. With `coarse`, only call returns and
/// function entries. `locate` gives the frames of an address, innermost first.
pub fn points(path: &ExecutionPath, coarse: bool, locate: impl Fn(u64) -> Vec<Frame>) -> Vec<SweepPoint> {
    let order: HashMap<u64, usize> =
        path.visits.iter().enumerate().map(|(order, it)| (it.address, order)).rev().collect();
    let mut seen = BTreeSet::new();
    let mut points: Vec<SweepPoint> = Vec::new();
    for unit in path.swept.values() {
        let wanted = coarse.then(|| call_returns(unit));
        for instruction in &unit.instructions {
            let address = instruction.address;
            if wanted.as_ref().is_some_and(|wanted| !wanted.contains(&address)) || !seen.insert(address) {
                continue;
            }
            let frames = locate(address);
            let innermost = frames.first();
            let visit = order.get(&address).copied();
            points.push(SweepPoint {
                address,
                function: unit.symbol.clone(),
                offset: address.wrapping_sub(unit.start),
                instruction: instruction.text.clone(),
                inlined: innermost.filter(|_| frames.len() > 1).map(|frame| frame.function.clone()),
                file: innermost.and_then(|frame| frame.file.clone()),
                line: innermost.and_then(|frame| frame.line),
                source: None,
                order: visit.and_then(|order| u64::try_from(order).ok()),
                illegal: visit.and_then(|order| path.visits[order].illegal.clone()),
            });
        }
    }
    points.sort_by_key(|point| point.address);
    points
}

fn call_returns(unit: &CodeUnit) -> BTreeSet<u64> {
    let calls = unit.instructions.iter().filter(|it| matches!(it.kind, Kind::Call(_)));
    calls.map(kernel_debug::symbols::Instruction::end).chain(unit.instructions.first().map(|it| it.address)).collect()
}

/// The source files of the points.
pub fn files(points: &[SweepPoint]) -> BTreeSet<String> {
    points.iter().filter_map(|point| point.file.clone()).collect()
}

/// Adds each point's source line, where the text is known.
pub(super) fn annotate(points: &mut [SweepPoint], text: &HashMap<String, Vec<String>>) {
    for point in points {
        let lines = point.file.as_ref().and_then(|file| text.get(file));
        let index = point.line.and_then(|line| usize::try_from(line).ok()?.checked_sub(1));
        point.source =
            lines.zip(index).and_then(|(lines, index)| lines.get(index)).map(|line| line.trim_end().to_owned());
    }
}

/// The points at which the victim can be held, in execution order.
pub fn to_try(points: &[SweepPoint]) -> Vec<&SweepPoint> {
    let mut legal: Vec<&SweepPoint> =
        points.iter().filter(|point| point.order.is_some() && point.illegal.is_none()).collect();
    legal.sort_by_key(|point| point.order);
    legal
}

#[cfg(test)]
mod tests {
    use super::super::code_path::Visit;
    use super::*;
    use kernel_debug::symbols::Instruction;

    fn path() -> ExecutionPath {
        let instruction = |address, text: &str, kind| Instruction { address, len: 2, text: text.to_owned(), kind };
        let unit = CodeUnit {
            name: "f".to_owned(),
            symbol: "f".to_owned(),
            start: 0x10,
            file: Some("mm/f.c".to_owned()),
            instructions: vec![
                instruction(0x10, "push rbp", Kind::Other),
                instruction(0x12, "call g", Kind::Call(Some(0x80))),
                instruction(0x14, "test eax, eax", Kind::Other),
                instruction(0x16, "call rax", Kind::Call(None)),
                instruction(0x18, "ret", Kind::Return),
            ],
        };
        let visit = |address, illegal: Option<&str>| Visit { address, illegal: illegal.map(str::to_owned) };
        ExecutionPath {
            swept: [(0x10, unit)].into(),
            visits: vec![
                visit(0x10, None),
                visit(0x14, Some("interrupts are off")),
                visit(0x12, None),
                visit(0x10, None),
            ],
            steps: 4,
        }
    }

    fn locate(address: u64) -> Vec<Frame> {
        let frame = |function: &str, line| Frame {
            address,
            function: function.to_owned(),
            offset: None,
            file: Some("mm/f.c".to_owned()),
            line: Some(line),
        };
        if address == 0x14 { vec![frame("inner", 2), frame("f", 7)] } else { vec![frame("f", 1)] }
    }

    #[test]
    fn every_boundary_knows_its_place_and_its_first_visit() {
        let points = points(&path(), false, locate);
        assert_eq!(points.iter().map(|it| it.offset).collect::<Vec<_>>(), [0, 2, 4, 6, 8]);
        assert_eq!(points.iter().map(|it| it.order).collect::<Vec<_>>(), [Some(0), Some(2), Some(1), None, None]);
        assert_eq!((points[2].inlined.as_deref(), points[2].line), (Some("inner"), Some(2)));
        assert_eq!(points[2].illegal.as_deref(), Some("interrupts are off"));
        assert_eq!(points[0].inlined, None);
        let tried: Vec<u64> = to_try(&points).iter().map(|it| it.address).collect();
        assert_eq!(tried, [0x10, 0x12], "neither illegal nor unvisited points, in the order of the path");
    }

    #[test]
    fn coarse_means_entries_and_call_returns() {
        let points = points(&path(), true, locate);
        assert_eq!(points.iter().map(|it| it.address).collect::<Vec<_>>(), [0x10, 0x14, 0x18]);
        assert_eq!(points[1].order, Some(1), "the place on the whole path");
    }

    #[test]
    fn source_lines_are_shown_where_they_are_known() {
        let mut points = points(&path(), false, locate);
        points[1].line = Some(3);
        points[3].file = Some("gone.h".to_owned());
        let text = HashMap::from([("mm/f.c".to_owned(), vec!["one \t".to_owned(), "\ttwo".to_owned()])]);
        assert_eq!(files(&points).into_iter().collect::<Vec<_>>(), ["gone.h", "mm/f.c"]);
        annotate(&mut points, &text);
        let lines: Vec<Option<&str>> = points.iter().map(|it| it.source.as_deref()).collect();
        assert_eq!(lines, [Some("one"), None, Some("\ttwo"), None, Some("one")]);
    }
}
