//! Names that someone may have meant.

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
mod tests {
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
