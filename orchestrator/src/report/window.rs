//! The window map: what each source line on the victim's way showed, by its instructions.

use super::forced::place;
use super::words::{clipped, drawn, one_line};
use crate::analysis::SweepResult;
use crate::analysis::forced::{PointResult, PointState};

/// What came of an instruction, as the map shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Corrupt,
    Clean,
    Excluded,
    Crashed,
    /// Lost or not tried.
    Unknown,
    Illegal,
    Unreached,
}

impl Mark {
    /// All of them, in the order of the legend.
    pub const ALL: [Self; 7] =
        [Self::Corrupt, Self::Clean, Self::Excluded, Self::Crashed, Self::Unknown, Self::Illegal, Self::Unreached];

    fn of(state: &PointState) -> Self {
        match state {
            PointState::Corrupt(_) => Self::Corrupt,
            PointState::Clean => Self::Clean,
            PointState::Excluded(_) => Self::Excluded,
            PointState::Crashed(_) => Self::Crashed,
            PointState::Lost(_) | PointState::Untried => Self::Unknown,
            PointState::Illegal(_) => Self::Illegal,
            PointState::Unreached | PointState::Once => Self::Unreached,
        }
    }

    /// Class in the style sheet.
    pub fn class(self) -> &'static str {
        match self {
            Self::Corrupt => "corrupt",
            Self::Clean => "clean",
            Self::Excluded => "excluded",
            Self::Crashed => "crashed",
            Self::Unknown => "unknown",
            Self::Illegal => "illegal",
            Self::Unreached => "unreached",
        }
    }

    /// The sign for one instruction; no two are alike, so that nobody needs the colours.
    pub fn sign(self) -> char {
        match self {
            Self::Corrupt => '#',
            Self::Clean => '.',
            Self::Excluded => 'x',
            Self::Crashed => '!',
            Self::Unknown => '?',
            Self::Illegal => '-',
            Self::Unreached => ' ',
        }
    }

    /// What it means.
    pub fn word(self) -> &'static str {
        match self {
            Self::Corrupt => "corrupt",
            Self::Clean => "clean",
            Self::Excluded => "excluded",
            Self::Crashed => "crashed",
            Self::Unknown => "not known",
            Self::Illegal => "not legal",
            Self::Unreached => "not on the way",
        }
    }
}

/// One source line and its instructions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// Swept function.
    pub function: String,
    /// Inlined function the line belongs to.
    pub inlined: Option<String>,
    /// `mm/memory.c:3882`.
    pub place: String,
    /// Line number.
    pub line: Option<u32>,
    /// Its text, or the first instruction where the source is not at hand.
    pub text: String,
    /// Runs of equal marks in the victim's order, with their lengths.
    pub marks: Vec<(Mark, u64)>,
    /// Why a hold was not legal, or what was waited for, each reason once.
    pub why: Vec<String>,
}

impl Row {
    /// Whether any of its instructions shows `mark`.
    pub fn has(&self, mark: Mark) -> bool {
        self.marks.iter().any(|(it, _)| *it == mark)
    }

    /// The place as narrow as it can be told: a header of inlined code without its folder.
    fn short_place(&self) -> &str {
        if self.inlined.is_none() { &self.place } else { self.place.rsplit('/').next().unwrap_or(&self.place) }
    }

    /// A sign for each instruction where they fit, and each sign with its number where they do not.
    fn signs(&self) -> String {
        let all: u64 = self.marks.iter().map(|(_, times)| times).sum();
        let told = self.marks.iter().map(|(mark, times)| match usize::try_from(*times) {
            Ok(times) if all <= SIGNS as u64 => mark.sign().to_string().repeat(times),
            _ => format!("{}{times}", mark.sign()),
        });
        clipped(&told.collect::<String>(), SIGNS)
    }

    fn of(it: &PointResult) -> Self {
        let point = &it.point;
        Self {
            function: point.function.clone(),
            inlined: point.inlined.clone(),
            place: place(point),
            line: point.line,
            text: point.source.clone().unwrap_or_else(|| point.instruction.clone()),
            marks: Vec::new(),
            why: Vec::new(),
        }
    }

    fn take(&mut self, it: &PointResult) {
        let mark = Mark::of(&it.state);
        match self.marks.last_mut() {
            Some((last, times)) if *last == mark => *times += 1,
            _ => self.marks.push((mark, 1)),
        }
        let why = match &it.state {
            PointState::Illegal(why) => why.clone(),
            PointState::Excluded(function) => format!("the others wait in {function}"),
            PointState::Crashed(reason) | PointState::Lost(reason) => reason.clone(),
            PointState::Once => "the victim came here once and never again".to_owned(),
            PointState::Corrupt(_) | PointState::Clean | PointState::Unreached | PointState::Untried => return,
        };
        if !self.why.contains(&why) {
            self.why.push(why);
        }
    }
}

/// The lines that are not on the victim's way at all, by function and line.
pub(super) fn beside(sweep: &SweepResult) -> Vec<Row> {
    let on_the_way: std::collections::HashSet<_> =
        sweep.way.iter().map(|it| (&it.point.function, &it.point.file, it.point.line)).collect();
    let mut rows: std::collections::BTreeMap<_, Row> = std::collections::BTreeMap::new();
    for it in &sweep.beside {
        let point = &it.point;
        if point.line.is_some() && !on_the_way.contains(&(&point.function, &point.file, point.line)) {
            rows.entry((&point.function, &point.file, point.line)).or_insert_with(|| Row::of(it)).take(it);
        }
    }
    rows.into_values().collect()
}

/// The lines on the victim's way, each where it is first come through. A line's later instructions, which the compiler
/// may have put elsewhere, are counted with it; one of an inlined function is a line of its own wherever it is inlined.
pub(super) fn rows(sweep: &SweepResult) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut places: std::collections::HashMap<_, usize> = std::collections::HashMap::new();
    let mut around: Option<(&str, Option<u32>)> = None;
    for it in &sweep.way {
        let point = &it.point;
        if point.inlined.is_none() {
            around = Some((&point.function, point.line));
        }
        let inside = point.inlined.as_ref().map(|name| (name, around));
        // Without a line each instruction stands for itself.
        let bare = point.line.is_none().then_some(point.address);
        let at = *places.entry((&point.function, &point.file, point.line, inside, bare)).or_insert_with(|| {
            rows.push(Row::of(it));
            rows.len() - 1
        });
        rows[at].take(it);
    }
    rows
}

/// The signs of [`text`] in words.
pub(super) fn legend() -> String {
    let told = Mark::ALL.iter().filter(|mark| **mark != Mark::Unreached);
    let told = told.map(|mark| format!("{} {}", mark.sign(), mark.word()));
    format!("One sign an instruction: {}", told.collect::<Vec<_>>().join("; "))
}

/// What makes a line worth showing where there is room.
pub(super) const TELLING: [Mark; 4] = [Mark::Corrupt, Mark::Excluded, Mark::Crashed, Mark::Unknown];
/// What makes it worth showing anywhere.
pub(super) const HARM: [Mark; 2] = [Mark::Corrupt, Mark::Crashed];

/// Columns of the signs.
const SIGNS: usize = 16;

/// The map in plain text, at most `width` wide: lines that show one of `telling`, with `around` lines on each side of
/// them; the others are counted.
pub(super) fn text(sweep: &SweepResult, width: usize, around: usize, telling: &[Mark]) -> Vec<String> {
    let rows = rows(sweep);
    let told = |row: &Row| telling.iter().any(|mark| row.has(*mark));
    let shown = |at: usize| rows[at.saturating_sub(around)..rows.len().min(at + around + 1)].iter().any(told);
    let place_width =
        rows.iter().enumerate().filter(|(at, _)| shown(*at)).map(|(_, row)| row.short_place().chars().count()).max();
    let place_width = place_width.unwrap_or(0).min(width / 2);
    let (mut lines, mut left_out, mut function) = (Vec::new(), 0, None);
    for (at, row) in rows.iter().enumerate() {
        if !shown(at) {
            left_out += 1;
            continue;
        }
        lines.extend(skipped(&mut left_out));
        if function != Some(&row.function) {
            lines.push(clipped(&format!("{}()", one_line(&row.function)), width));
            function = Some(&row.function);
        }
        let place = clipped(&one_line(row.short_place()), place_width);
        let inlined = row.inlined.as_ref().map_or_else(String::new, |name| format!("[{name}] "));
        let text = one_line(&format!("{inlined}{}", row.text));
        let line = format!("  {place:place_width$}  {:SIGNS$}  {text}", row.signs());
        lines.push(clipped(&drawn(&line), width));
    }
    if !lines.is_empty() {
        lines.extend(skipped(&mut left_out));
    }
    lines
}

fn skipped(left_out: &mut u64) -> Option<String> {
    let count = std::mem::take(left_out);
    (count > 0).then(|| format!("  ... {}", super::words::counted(count, "line more", "lines more")))
}

/// Base and patched rows beside each other: lines that say the same stand in one row, the others alone, in order.
///
/// Source: the longest common subsequence by dynamic programming (Wagner & Fischer, J. ACM 21 (1974) 168–173).
pub(super) fn aligned(base: &[Row], patched: &[Row]) -> Vec<(Option<usize>, Option<usize>)> {
    /// Cells of the table beyond which lines are not matched any more.
    const LARGEST: usize = 4_000_000;
    let same = |a: &Row, b: &Row| a.function == b.function && a.inlined == b.inlined && a.text.trim() == b.text.trim();
    let (rows, columns) = (base.len(), patched.len());
    if rows.saturating_mul(columns) > LARGEST {
        return (0..rows).map(|row| (Some(row), None)).chain((0..columns).map(|row| (None, Some(row)))).collect();
    }
    // Length of the longest common subsequence of what is left from (row, column) on.
    let mut longest = vec![0u32; (rows + 1) * (columns + 1)];
    let at = |row: usize, column: usize| row * (columns + 1) + column;
    for row in (0..rows).rev() {
        for column in (0..columns).rev() {
            longest[at(row, column)] = if same(&base[row], &patched[column]) {
                longest[at(row + 1, column + 1)] + 1
            } else {
                longest[at(row + 1, column)].max(longest[at(row, column + 1)])
            };
        }
    }
    let (mut row, mut column, mut pairs) = (0, 0, Vec::new());
    while row < rows || column < columns {
        if row < rows && column < columns && same(&base[row], &patched[column]) {
            pairs.push((Some(row), Some(column)));
            (row, column) = (row + 1, column + 1);
        } else if column == columns || row < rows && longest[at(row + 1, column)] >= longest[at(row, column + 1)] {
            pairs.push((Some(row), None));
            row += 1;
        } else {
            pairs.push((None, Some(column)));
            column += 1;
        }
    }
    pairs
}
