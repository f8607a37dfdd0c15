//! The symbol table: names and addresses, without any debug information.

use object::read::elf::ElfFile64;
use object::{LittleEndian, Object, ObjectSymbol, SymbolFlags, elf};
use std::collections::HashMap;

/// One symbol.
#[derive(Debug, Clone)]
pub(super) struct Symbol {
    pub name: String,
    pub address: u64,
    /// 0 for a label in assembly.
    pub size: u64,
    /// `STT_FUNC`.
    pub function: bool,
    /// Visible beyond its own unit.
    pub global: bool,
}

impl Symbol {
    /// Its name without what the compiler puts behind it: `do_swap_page.cold` is a piece of `do_swap_page`.
    pub fn base(&self) -> &str {
        base(&self.name)
    }

    fn contains(&self, address: u64) -> bool {
        (self.address..self.address.saturating_add(self.size)).contains(&address)
    }
}

/// A function's name as in the source. No C name has a dot, and gcc's and clang's suffixes (`.constprop.0`, `.isra.0`,
/// `.part.0`, `.cold`, `.llvm.1234`) all begin with one.
pub(super) fn base(name: &str) -> &str {
    match name.find('.') {
        Some(0) | None => name,
        Some(dot) => &name[..dot],
    }
}

/// All symbols, in address order and by name.
#[derive(Debug)]
pub(super) struct SymbolTable {
    symbols: Vec<Symbol>,
    by_name: HashMap<String, Vec<u32>>,
    /// Functions only, by the name in the source.
    by_base: HashMap<String, Vec<u32>>,
}

impl SymbolTable {
    pub fn read(file: &ElfFile64<'_, LittleEndian>) -> SymbolTable {
        let mut symbols = Vec::new();
        for symbol in file.symbols() {
            let SymbolFlags::Elf { st_info, .. } = symbol.flags() else { continue };
            let kind = st_info & 0xf;
            if !matches!(kind, elf::STT_FUNC | elf::STT_NOTYPE | elf::STT_OBJECT) || symbol.is_undefined() {
                continue;
            }
            let Ok(name) = symbol.name() else { continue };
            if name.is_empty() {
                continue;
            }
            symbols.push(Symbol {
                name: name.to_owned(),
                address: symbol.address(),
                size: symbol.size(),
                function: kind == elf::STT_FUNC,
                global: symbol.is_global(),
            });
        }
        symbols.sort_by(|a, b| a.address.cmp(&b.address).then_with(|| a.name.cmp(&b.name)));
        let mut by_name: HashMap<String, Vec<u32>> = HashMap::with_capacity(symbols.len());
        let mut by_base: HashMap<String, Vec<u32>> = HashMap::new();
        for (index, symbol) in (0u32..).zip(&symbols) {
            by_name.entry(symbol.name.clone()).or_default().push(index);
            if symbol.function {
                by_base.entry(symbol.base().to_owned()).or_default().push(index);
            }
        }
        SymbolTable { symbols, by_name, by_base }
    }

    /// Symbols of exactly this name.
    pub fn named(&self, name: &str) -> impl Iterator<Item = &Symbol> {
        self.by_name.get(name).into_iter().flatten().map(|index| &self.symbols[*index as usize])
    }

    /// Functions that are this one, or a piece or a clone of it, in address order.
    pub fn pieces(&self, base: &str) -> impl Iterator<Item = &Symbol> {
        self.by_base.get(base).into_iter().flatten().map(|index| &self.symbols[*index as usize])
    }

    /// Names of functions as in the source.
    pub fn functions(&self) -> impl Iterator<Item = &str> {
        self.by_base.keys().map(String::as_str)
    }

    /// Every symbol at exactly this address.
    pub fn at(&self, address: u64) -> &[Symbol] {
        let from = self.symbols.partition_point(|symbol| symbol.address < address);
        let to = self.symbols.partition_point(|symbol| symbol.address <= address);
        &self.symbols[from..to]
    }

    /// The symbol that an address belongs to: a function that contains it, else something in assembly that does, else the
    /// nearest label before it. Of several names of one function the global one is taken, then the shortest.
    pub fn around(&self, address: u64) -> Option<&Symbol> {
        // Functions do not overlap except for labels inside assembly, so that the search need not go far back.
        const BACK: usize = 256;
        let end = self.symbols.partition_point(|symbol| symbol.address <= address);
        let nearby = &self.symbols[end.saturating_sub(BACK)..end];
        let rank = |symbol: &&Symbol| {
            let plain = !symbol.name.starts_with("__pi_") && !symbol.name.starts_with("__pfx_");
            (symbol.function, plain, symbol.address, symbol.global, std::cmp::Reverse(symbol.name.len()))
        };
        let containing = nearby.iter().filter(|symbol| symbol.contains(address)).max_by_key(rank);
        containing.or_else(|| nearby.last().filter(|symbol| symbol.size == 0))
    }
}

/// How many are offered.
const OFFERED: usize = 5;
/// Jaro-Winkler similarity below which two names have nothing to do with each other.
const SIMILAR: f64 = 0.87;
/// How far behind the best guess another one is still worth a look.
const MIDDLING: f64 = 0.05;

/// Of `candidates` those that are like `name`, the most similar first.
///
/// Names from before and after the move from pages to folios are taken for similar: `swap_readpage` is `swap_read_folio`.
pub(super) fn near<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Vec<String> {
    let plain = ageless(name);
    let mut found: Vec<(f64, &str)> = candidates
        .filter(|candidate| !is_made_up(candidate) && *candidate != name)
        .filter_map(|candidate| {
            let as_written = strsim::jaro_winkler(name, candidate);
            // A hair below, so that a plain slip of the pen comes first.
            let as_meant = 0.99 * strsim::jaro_winkler(&plain, &ageless(candidate));
            let score = as_written.max(as_meant);
            (score >= SIMILAR).then_some((score, candidate))
        })
        .collect();
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    found.dedup_by(|a, b| a.1 == b.1);
    // Beside a very good guess a middling one is noise.
    let best = found.first().map_or(0.0, |best| best.0);
    found
        .into_iter()
        .filter(|(score, _)| *score >= best - MIDDLING)
        .take(OFFERED)
        .map(|(_, name)| name.to_owned())
        .collect()
}

/// A name without underscores and without its age: folios were pages.
fn ageless(name: &str) -> String {
    name.replace("folio", "page").replace('_', "")
}

/// Symbols that tools put beside the functions they belong to.
fn is_made_up(name: &str) -> bool {
    ["__pfx_", "__cfi_", "__SCT__", "__SCK__", "__pi_", "__traceiter_", "__probestub_"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod near_tests {
    use super::near;

    #[test]
    fn a_slip_and_a_folio_name_are_found() {
        let kernel = ["swap_read_folio", "swap_readpage", "swap_writepage", "do_swap_page", "schedule"];
        assert_eq!(near("swap_readpge", kernel.into_iter())[0], "swap_readpage");
        let newer = ["swap_read_folio", "swap_writeout", "do_swap_page"];
        assert_eq!(near("swap_readpage", newer.into_iter())[0], "swap_read_folio");
        assert!(near("xyzzy", kernel.into_iter()).is_empty());
    }
}
