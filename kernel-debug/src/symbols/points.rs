//! Points of a diagram as addresses.

use std::collections::{BTreeMap, BTreeSet};

use crate::Point;

use super::instructions::Call;
use super::lines::Lines;
use super::names::base;
use super::names::near;
use super::{Function, Instruction, Kind, Piece, PointError, Symbols, lines};

/// A point in one kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Addresses, sorted. A thread is at the point when it is about to execute the instruction at any of them.
    pub addresses: Vec<u64>,
    /// The point with the names that this kernel has: `do_swap_page: after swap_readpage`.
    pub taken: String,
    /// Ways through the point that no address stands for, in words; empty when all are covered. A thread that takes one
    /// is not seen at the point.
    pub left_out: Vec<String>,
}

impl Resolved {
    fn new(addresses: impl IntoIterator<Item = u64>, taken: String) -> Resolved {
        let sorted: BTreeSet<u64> = addresses.into_iter().collect();
        Resolved { addresses: sorted.into_iter().collect(), taken, left_out: Vec::new() }
    }
}

/// How a function is called by another.
#[derive(Default)]
struct Called {
    calls: Vec<Call>,
    /// Copies of the callee inside the function.
    copies: Vec<Piece>,
}

/// What the line tables say of one line of one file.
#[derive(Default)]
struct LineFound {
    /// Where a statement of the line begins.
    statements: BTreeSet<u64>,
    /// Where code of the line begins that the compiler has mixed into other statements.
    mixed: BTreeSet<u64>,
    /// Nearest lines with code.
    before: Option<u32>,
    after: Option<u32>,
}

impl LineFound {
    fn look(&mut self, lines: &Lines, file: u32, line: u32) {
        let mut last = None;
        for row in &lines.rows {
            let here = (row.file, row.line);
            // Only where the line begins: what follows in the same line belongs to the same visit.
            let begins = row.first || last != Some((here, row.statement));
            if here == (file, line) && begins {
                let kind = if row.statement { &mut self.statements } else { &mut self.mixed };
                kind.insert(row.address);
            }
            last = Some((here, row.statement));
            if row.file == file && row.line != 0 {
                if row.line < line {
                    self.before = self.before.max(Some(row.line));
                } else if row.line > line {
                    self.after = Some(self.after.map_or(row.line, |after| after.min(row.line)));
                }
            }
        }
    }

    fn has_code(&self) -> bool {
        !self.addresses().is_empty() || self.before.is_some() || self.after.is_some()
    }

    /// Statements, where the line has any.
    fn addresses(&self) -> &BTreeSet<u64> {
        if self.statements.is_empty() { &self.mixed } else { &self.statements }
    }
}

impl Symbols {
    /// The addresses of a point.
    ///
    /// # Errors
    /// The point does not exist in this kernel; the error says what is there instead.
    pub fn resolve(&self, point: &Point) -> Result<Resolved, PointError> {
        match point {
            Point::Entry(names) => {
                let function = self.function(names)?;
                Ok(Resolved::new(entries(&function.pieces), function.name))
            }
            Point::After(names, callees) => self.after(&self.function(names)?, callees),
            Point::Before(names, callees) => self.before(&self.function(names)?, callees),
            Point::Return(names) => self.returns(&self.function(names)?),
            Point::Offset(names, offset) => self.offset(&self.function(names)?, *offset),
            Point::Line(file, line) => self.line(file, *line),
        }
    }

    fn after(&self, function: &Function, callees: &[String]) -> Result<Resolved, PointError> {
        let (callee, ways) = self.called(function, callees)?;
        let mut resolved = Resolved::new(
            ways.calls.iter().filter(|call| !call.tail).map(|call| call.end),
            format!("{}: after {callee}", function.name),
        );
        let mut mixed = None;
        for copy in &ways.copies {
            if let Some(exits) = self.exits(copy) {
                resolved.addresses.extend(exits);
            } else {
                mixed = Some(copy);
                let into = copy.into.as_deref().unwrap_or(&function.name);
                resolved.left_out.push(format!("the end of {callee} as inlined into {into} at {:#x}", copy.entry));
            }
        }
        for tail in ways.calls.iter().filter(|call| call.tail) {
            resolved.left_out.push(format!("the tail call of {callee} at {:#x}", tail.address));
        }
        resolved.addresses.sort_unstable();
        resolved.addresses.dedup();
        if !resolved.addresses.is_empty() {
            return Ok(resolved);
        }
        let function = function.name.clone();
        Err(if let Some(copy) = mixed {
            PointError::Mixed { function, callee, at: copy.called_at.clone() }
        } else {
            PointError::TailCall { function, callee }
        })
    }

    fn before(&self, function: &Function, callees: &[String]) -> Result<Resolved, PointError> {
        let (callee, ways) = self.called(function, callees)?;
        let calls = ways.calls.iter().map(|call| call.address);
        let addresses = calls.chain(ways.copies.iter().map(|copy| copy.entry));
        Ok(Resolved::new(addresses, format!("{}: before {callee}", function.name)))
    }

    /// The first of `callees` that the function calls or has inlined.
    fn called(&self, function: &Function, callees: &[String]) -> Result<(String, Called), PointError> {
        let code = self.instructions(function);
        let calls = self.calls(function, &code);
        let inlined = self.inlined_into(function)?;
        for callee in callees {
            let callee = base(callee);
            let ways = Called {
                calls: calls.iter().filter(|call| self.is_called(call.callee, callee)).cloned().collect(),
                copies: inlined.iter().filter(|copy| copy.name == callee).cloned().collect(),
            };
            if !ways.calls.is_empty() || !ways.copies.is_empty() {
                return Ok((callee.to_owned(), ways));
            }
        }
        let callee = |call: &Call| Some((call.address, self.table.around(call.callee)?.base().to_owned()));
        let calls = in_order(calls.iter().filter_map(callee).collect());
        let inlined = in_order(inlined.into_iter().map(|copy| (copy.entry, copy.name)).collect());
        let all = || calls.iter().chain(&inlined).map(String::as_str);
        let mut similar: Vec<String> = callees.iter().flat_map(|callee| near(callee, all())).collect();
        if similar.is_empty() {
            let unknown = callees.iter().filter(|callee| self.table.pieces(base(callee)).next().is_none());
            similar = unknown.flat_map(|callee| near(callee, self.table.functions())).collect();
        }
        similar.dedup();
        Err(PointError::NotCalled {
            function: function.name.clone(),
            callees: callees.to_vec(),
            near: similar,
            calls,
            inlined,
        })
    }

    /// The copies of other functions inside a function's code.
    fn inlined_into(&self, function: &Function) -> Result<Vec<Piece>, PointError> {
        let units = self.units()?;
        let touched: BTreeSet<usize> = function.ranges.iter().filter_map(|range| units.at(range.start)).collect();
        let mut copies = Vec::new();
        for unit in touched {
            let tree = self.tree(unit)?;
            copies
                .extend(tree.copies(|scope| function.contains(scope.entry) && *scope.declared.name != *function.name));
        }
        Ok(copies)
    }

    fn returns(&self, function: &Function) -> Result<Resolved, PointError> {
        let mut resolved = Resolved::new([], format!("{}: return", function.name));
        for piece in &function.pieces {
            if piece.into.is_none() {
                let code = self.decode(&piece.ranges);
                let tails: BTreeSet<u64> =
                    self.calls(function, &code).iter().filter(|call| call.tail).map(|call| call.address).collect();
                let ends = |instruction: &&Instruction| match instruction.kind {
                    Kind::Return => true,
                    // A jump through a register that is no switch can only leave the function.
                    Kind::Jump { to: None, table, .. } => table.is_none(),
                    _ => tails.contains(&instruction.address),
                };
                resolved.addresses.extend(code.iter().filter(ends).map(|instruction| instruction.address));
                continue;
            }
            if let Some(exits) = self.exits(piece) {
                resolved.addresses.extend(exits);
            } else {
                let into = piece.into.as_deref().unwrap_or_default();
                let copy = format!("the end of {} as inlined into {into} at {:#x}", function.name, piece.entry);
                resolved.left_out.push(copy);
            }
        }
        resolved.addresses.sort_unstable();
        resolved.addresses.dedup();
        if !resolved.addresses.is_empty() {
            return Ok(resolved);
        }
        let own = function.pieces.iter().any(|piece| piece.into.is_none());
        let copy = function.pieces.iter().find_map(|piece| Some((piece.into.clone()?, piece.called_at.clone())));
        Err(match copy {
            Some((into, at)) if !own => PointError::Mixed { function: into, callee: function.name.clone(), at },
            _ => PointError::NeverReturns { function: function.name.clone() },
        })
    }

    fn offset(&self, function: &Function, offset: u64) -> Result<Resolved, PointError> {
        let taken = format!("{}+{offset:#x}", function.name);
        let piece = function.pieces.iter().find(|piece| piece.entry == function.start);
        let code = piece.map(|piece| self.decode(&piece.ranges)).unwrap_or_default();
        // Two parts of one function can be far apart; offsets count from the first.
        let wanted = function.start.wrapping_add(offset);
        if code.iter().any(|instruction| instruction.address == wanted) {
            return Ok(Resolved::new([wanted], taken));
        }
        let boundaries = || code.iter().map(|instruction| instruction.address);
        Err(PointError::NotBoundary {
            function: function.name.clone(),
            offset,
            before: boundaries().filter(|at| *at < wanted && *at >= function.start).max().map(|at| at - function.start),
            after: boundaries().filter(|at| *at > wanted).min().map(|at| at - function.start),
        })
    }

    fn line(&self, asked: &str, line: u32) -> Result<Resolved, PointError> {
        let mut files: BTreeMap<String, LineFound> = BTreeMap::new();
        for unit in self.units_with_file(asked)? {
            let lines = self.lines(unit)?;
            for (number, path) in (0u32..).zip(&lines.files) {
                if lines::names_path(asked, path) {
                    files.entry(path.to_string()).or_default().look(&lines, number, line);
                }
            }
        }
        // A header that left no code is no candidate.
        files.retain(|_, found| found.has_code());
        if files.len() > 1 && files.contains_key(asked) {
            files.retain(|path, _| path == asked);
        }
        let with_code: Vec<(&String, &LineFound)> =
            files.iter().filter(|(_, found)| !found.addresses().is_empty()).collect();
        match with_code.as_slice() {
            [(path, found)] => Ok(Resolved::new(found.addresses().iter().copied(), format!("{path}:{line}"))),
            [] => Err(match files.into_iter().next() {
                Some((file, LineFound { before, after, .. })) => PointError::NoLine { file, line, before, after },
                None => PointError::NoFile { file: asked.to_owned(), near: self.files_near(asked)? },
            }),
            _ => {
                let files = with_code.iter().map(|(path, _)| (*path).clone()).collect();
                Err(PointError::AmbiguousFile { file: asked.to_owned(), line, files })
            }
        }
    }

    /// Units with this file in their line table.
    fn units_with_file(&self, asked: &str) -> Result<Vec<usize>, PointError> {
        let (dwarf, units) = (self.dwarf(), self.units()?);
        let mut found = Vec::new();
        for (index, unit) in units.entries.iter().enumerate() {
            let Some(offset) = unit.lines else { continue };
            let program = dwarf.debug_line.program(offset, 8, None, None)?;
            let last = asked.rsplit('/').next().unwrap_or(asked);
            // The cheap comparison first: there are hundreds of thousands of files.
            let mentioned = program.header().file_names().iter().any(|file| {
                let name = match file.path_name() {
                    gimli::AttributeValue::String(name) => Some(name),
                    gimli::AttributeValue::DebugLineStrRef(at) => dwarf.line_string(at).ok(),
                    gimli::AttributeValue::DebugStrRef(at) => dwarf.string(at).ok(),
                    _ => None,
                };
                name.is_some_and(|name| name.slice().ends_with(last.as_bytes()))
            });
            if mentioned {
                found.push(index);
            }
        }
        Ok(found)
    }

    fn files_near(&self, asked: &str) -> Result<Vec<String>, PointError> {
        let units = self.units()?;
        let last = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
        let mut found: Vec<(f64, &str)> = units
            .entries
            .iter()
            .map(|unit| (strsim::jaro_winkler(&last(asked), &last(&unit.name)), unit.name.as_str()))
            .filter(|(score, _)| *score > 0.9)
            .collect();
        found.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
        Ok(found.into_iter().take(5).map(|(_, name)| name.to_owned()).collect())
    }
}

/// Where control enters a function: parts that were split off begin in its middle.
fn entries(pieces: &[Piece]) -> Vec<u64> {
    let whole: Vec<u64> = pieces.iter().filter(|piece| piece.is_whole()).map(|piece| piece.entry).collect();
    if whole.is_empty() { pieces.iter().map(|piece| piece.entry).collect() } else { whole }
}

/// Names by address, each once.
fn in_order(mut found: Vec<(u64, String)>) -> Vec<String> {
    found.sort();
    let mut seen = BTreeSet::new();
    found.into_iter().map(|(_, name)| name).filter(|name| seen.insert(name.clone())).collect()
}
