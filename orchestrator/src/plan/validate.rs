//! Checks of single values, independent of their place in the plan and of the disk.

use super::schema::Size;
use crate::journal::failure::{Counted, CrashKind};
use crate::suggest;

/// Slots of the smallest swap area that mkswap makes, header included (`mkswap(8)` refuses less
/// than ten pages).
const SWAP_MIN: u64 = 10 * PAGE;
/// x86-64's page; zram and brd sizes that are no multiple of it would be rounded.
const PAGE: u64 = 4096;
/// A kernel, an initramfs and a test do not fit in less.
const MEMORY_MIN: u64 = 128 << 20;
const MIB: u64 = 1 << 20;
/// More saved boots than a cell needs, each of which takes the memory of a guest on disk.
const BOOTS_MAX: u32 = 64;
/// More is a typing error: no test here uses so many.
const CPUS_MAX: u32 = 64;
/// Cell ids are folder names and four names long, and a folder name holds 255 bytes.
const NAME_MAX: usize = 48;

/// Compressors of zram in the kernels at hand (`drivers/block/zram/zcomp.c`).
pub const ALGORITHMS: [&str; 7] = ["lzo", "lzo-rle", "lz4", "lz4hc", "zstd", "842", "deflate"];

/// What is wrong with a value and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What was found and what was expected.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

type Check = Result<(), Problem>;

fn problem(message: String, hint: &str) -> Check {
    Err(Problem { message, hint: (!hint.is_empty()).then(|| hint.to_owned()) })
}

/// Name of a kernel, a variant or a test: part of cell ids and file names.
pub fn name(name: &str) -> Check {
    let legal = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
    if name.is_empty() {
        return problem("the name is empty".to_owned(), "");
    }
    if name.len() > NAME_MAX {
        return problem(format!("the name is {} characters long, at most {NAME_MAX} are allowed", name.len()), "");
    }
    match name.chars().find(|c| !legal(*c)) {
        Some(wrong) => problem(
            format!("the name '{name}' has {wrong:?} in it"),
            "letters, digits, `.`, `_`, `+` and `-` are allowed: it becomes part of file names",
        ),
        None if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) => {
            problem(format!("the name '{name}' begins with {:?}", &name[..1]), "begin it with a letter or a digit")
        }
        None => Ok(()),
    }
}

/// Name of a plan: part of the result folder's name.
pub fn plan_name(plan: &str) -> Check {
    name(plan)?;
    match plan.chars().find(|c| c.is_ascii_uppercase() || *c == '+') {
        Some(wrong) => problem(
            format!("the plan's name '{plan}' has {wrong:?} in it"),
            "small letters, digits, `.`, `_` and `-` are allowed: result folders carry it",
        ),
        None => Ok(()),
    }
}

/// Virtual CPUs.
pub fn cpus(cpus: u32) -> Check {
    match cpus {
        0 => problem("0 CPUs".to_owned(), "a guest needs at least one"),
        1..=CPUS_MAX => Ok(()),
        _ => problem(format!("{cpus} CPUs, at most {CPUS_MAX} are allowed"), ""),
    }
}

/// Saved boots of a guest.
pub fn boots(boots: u32) -> Check {
    match boots {
        0 => problem("0 boots".to_owned(), "warm rounds go on from at least one"),
        1..=BOOTS_MAX => Ok(()),
        _ => problem(format!("{boots} boots, at most {BOOTS_MAX} are allowed"), "`clone: cold` boots for every round"),
    }
}

/// Memory of a guest, in bytes.
pub fn memory(bytes: u64) -> Check {
    if bytes < MEMORY_MIN {
        let hint = if bytes < 1 << 16 { "write a unit: 512 is 512 bytes, `512M` is meant" } else { "" };
        return problem(format!("memory of {} is too little, at least 128M are needed", Size(bytes)), hint);
    }
    if !bytes.is_multiple_of(MIB) {
        return problem(
            format!("memory of {} is not a whole number of MiB", Size(bytes)),
            &format!("the next one is {}", Size(bytes.checked_next_multiple_of(MIB).unwrap_or(MEMORY_MIN))),
        );
    }
    Ok(())
}

/// Size of a swap device, in bytes.
pub fn swap_size(bytes: u64) -> Check {
    if bytes < SWAP_MIN {
        let hint = "mkswap makes no swap area of less than 10 pages, 40K";
        return problem(format!("a swap device of {} is too small, at least 40K are needed", Size(bytes)), hint);
    }
    if !bytes.is_multiple_of(PAGE) {
        return problem(
            format!("a swap device of {} is not a whole number of 4096-byte pages", Size(bytes)),
            &format!("the next one is {}", Size(bytes.checked_next_multiple_of(PAGE).unwrap_or(SWAP_MIN))),
        );
    }
    Ok(())
}

/// A zram compressor. Kernels may know others than those listed here, so only impossible names and
/// likely typing errors are refused.
pub fn algorithm(algorithm: &str) -> Check {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    let others = || ALGORITHMS.into_iter().filter(|known| *known != algorithm);
    if algorithm.is_empty() || !algorithm.chars().all(legal) {
        let hint = suggest::did_you_mean_or(algorithm, others(), "known").unwrap_or_default();
        return problem(format!("'{algorithm}' cannot be a compressor"), &hint);
    }
    if let Some(meant) = suggest::likely_slip(algorithm, ALGORITHMS).filter(|meant| *meant != algorithm) {
        return problem(format!("there is no compressor '{algorithm}'"), &suggest::question(meant));
    }
    Ok(())
}

/// Rounds for each cell.
pub fn rounds(rounds: u32) -> Check {
    if rounds == 0 { problem("0 rounds".to_owned(), "a cell needs at least one") } else { Ok(()) }
}

/// Ways to fail that take no value, as plans spell them.
const WAYS: [(&str, Counted); 5] = [
    ("corruption", Counted::Corruption),
    ("crash", Counted::Crash),
    ("hang", Counted::Hang),
    ("complaint", Counted::Complaint(None)),
    ("exit", Counted::Exit(None)),
];

/// A way to fail that takes no value.
pub fn counted(word: &str) -> Result<Counted, Problem> {
    named(word, WAYS, || format!("'{word}' is no way to fail"))
}

/// Kinds of kernel complaints, as plans spell them.
const COMPLAINTS: [(&str, CrashKind); 8] = [
    ("warning", CrashKind::Warning),
    ("bug", CrashKind::Bug),
    ("lockdep", CrashKind::Lockdep),
    ("hang", CrashKind::Hang),
    ("oom", CrashKind::Oom),
    ("panic", CrashKind::Panic),
    ("data_loss", CrashKind::DataLoss),
    ("leak", CrashKind::Leak),
];

/// A kind of kernel complaint.
pub fn complaint(word: &str) -> Result<CrashKind, Problem> {
    named(word, COMPLAINTS, || format!("there is no class of complaints '{word}'"))
}

/// What `word` stands for in `known`; a problem with this message, and the nearest word, where it is not there.
fn named<T, const N: usize>(word: &str, known: [(&str, T); N], message: impl Fn() -> String) -> Result<T, Problem> {
    let words = known.each_ref().map(|(name, _)| *name);
    known.into_iter().find(|(name, _)| *name == word).map(|(_, value)| value).ok_or_else(|| {
        let hint = suggest::did_you_mean_or(word, words, "known").unwrap_or_default();
        Problem { message: message(), hint: Some(hint) }
    })
}

/// A text that a line of a program is searched for.
pub fn output(text: &str) -> Check {
    if text.trim().is_empty() || text.contains('\n') {
        problem("this text is blank or has several lines".to_owned(), "write a part of one line that tells a failure")
    } else {
        Ok(())
    }
}

/// Virtual CPUs for each of the host's.
pub fn overcommit(overcommit: f64) -> Check {
    if (0.01..=64.0).contains(&overcommit) {
        Ok(())
    } else {
        problem(
            format!("overcommit is {overcommit}, it must be from 0.01 to 64"),
            "1 gives every virtual CPU one of the host's",
        )
    }
}

/// Corruptions or exposures after which a round ends.
pub fn count(count: u64) -> Check {
    if count == 0 {
        problem("0 would end a round before it begins".to_owned(), "leave the key out for no such limit")
    } else {
        Ok(())
    }
}

/// Significance.
pub fn alpha(alpha: f64) -> Check {
    if alpha > 0.0 && alpha < 0.5 {
        Ok(())
    } else {
        problem(format!("alpha is {alpha}, it must be more than 0 and less than 0.5"), "1e-6 is a good one")
    }
}

/// Smallest residual rate that matters, as a share of the base's rate.
pub fn residual(residual: f64) -> Check {
    if residual > 0.0 && residual < 1.0 {
        Ok(())
    } else {
        problem(
            format!("residual is {residual}, it must be more than 0 and less than 1"),
            "0.1 means a tenth of the base's rate",
        )
    }
}

/// Rounds before a cell may stop, of so many planned.
pub fn min_rounds(min_rounds: u32, rounds: u32) -> Check {
    if min_rounds == 0 {
        problem("0 rounds".to_owned(), "nothing is known before the first round")
    } else if min_rounds > rounds {
        problem(
            format!("min_rounds is {min_rounds}, and there are only {rounds} rounds"),
            "raise `rounds`, or lower it",
        )
    } else {
        Ok(())
    }
}

/// A duration, which must not be zero.
pub fn interval(interval: std::time::Duration) -> Check {
    if interval.is_zero() { problem("the duration is zero".to_owned(), "") } else { Ok(()) }
}

/// A SHA-256 in hex.
pub fn sha256(digest: &str) -> Check {
    if digest.len() == 64 && digest.chars().all(|c| c.is_ascii_hexdigit()) {
        return Ok(());
    }
    let found = match digest.chars().find(|c| !c.is_ascii_hexdigit()) {
        Some(wrong) => format!("it has {wrong:?} in it"),
        None => format!("it has {}", digest.len()),
    };
    problem(format!("a SHA-256 has 64 hex digits, {found}"), "`sha256sum FILE` prints it")
}

/// An option's name and value in a kernel configuration.
pub fn option(name: &str, value: &str) -> Check {
    if let Some(bare) = name.strip_prefix("CONFIG_") {
        return problem(format!("option {name} is written with CONFIG_"), &format!("write {bare}"));
    }
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return problem(format!("'{name}' cannot be the name of an option"), "");
    }
    let Err(meant) = option_value(value) else { return Ok(()) };
    let hint = if meant.starts_with('"') {
        format!("a text is written with both kinds of quotes: '{}'", meant.replace(['\n', '\r'], " "))
    } else {
        format!("write `{meant}`")
    };
    problem(format!("option {name} is '{value}', expected y, m, n, a number or a text in double quotes"), &hint)
}

/// An option's value as a `.config` spells it.
///
/// # Errors
///
/// What was probably meant.
pub fn option_value(value: &str) -> Result<(), String> {
    let digits = value.strip_prefix('-').unwrap_or(value);
    let decimal = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    // Kconfig takes a hexadecimal number without `0x` as well.
    let hexadecimal = value.strip_prefix("0x").or_else(|| value.strip_prefix("0X")).or(Some(value));
    let hexadecimal = value.starts_with(|c: char| c.is_ascii_digit())
        && hexadecimal.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let text = value.len() >= 2 && value.starts_with('"') && value.ends_with('"') && !value.contains(['\n', '\r']);
    if matches!(value, "y" | "m" | "n") || decimal || hexadecimal || text {
        return Ok(());
    }
    Err(match value.to_ascii_lowercase().as_str() {
        "y" | "yes" | "true" | "on" => "y".to_owned(),
        "n" | "no" | "false" | "off" => "n".to_owned(),
        "m" => "m".to_owned(),
        _ => format!("\"{}\"", value.trim_matches(['"', '\''])),
    })
}

/// A program in the image, or a key of its arguments.
pub fn word(word: &str, what: &str) -> Check {
    let legal = |c: char| c.is_ascii_alphanumeric() || "._+-/".contains(c);
    if word.is_empty() {
        problem(format!("the {what} is empty"), "")
    } else if word.starts_with('-') || !word.chars().all(legal) {
        problem(format!("'{word}' cannot be a {what}"), "letters, digits, `.`, `_`, `+`, `-` and `/`, and no `-` first")
    } else {
        Ok(())
    }
}

/// Name of a thread of a guest test.
pub fn thread(name: &str) -> Check {
    if name.is_empty() {
        return problem("the thread's name is empty".to_owned(), "");
    }
    crate::diagram::thread_name(name).or_else(|wrong| {
        let hint = "letters, digits, `_`, `-` and `.` are allowed";
        problem(format!("the thread's name '{name}' has {wrong:?} in it"), hint)
    })
}

/// A folder or a file of a kernel's source.
pub fn kernel_source(path: &str) -> Check {
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-+/".contains(c);
    if path.is_empty() || path.starts_with(['/', '.']) || path.contains("..") || !path.chars().all(legal) {
        return problem(
            format!("'{path}' is no folder or file of a kernel's source"),
            "paths begin at the top of the tree: `mm/` or `mm/page_io.c`",
        );
    }
    if !path.ends_with('/') && !path.contains('.') {
        return problem(
            format!("'{path}' is neither a folder nor a file"),
            &format!("a folder ends with /: `{path}/`"),
        );
    }
    Ok(())
}

/// A value that is passed on one line: an argument, a sysctl, a command line.
pub fn line(text: &str) -> Check {
    match text.chars().find(|c| c.is_control()) {
        Some(wrong) => problem(format!("there is {wrong:?} in it"), "keep it to one line of text"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_where_they_are_said_to_be() {
        assert!(memory(128 << 20).is_ok() && memory((128 << 20) - 1).is_err() && memory((128 << 20) + 1).is_err());
        assert!(swap_size(40960).is_ok() && swap_size(40959).is_err() && swap_size(40961).is_err());
        assert!(swap_size(u64::MAX).is_err() && memory(u64::MAX - 1).is_err());
        assert!(cpus(1).is_ok() && cpus(64).is_ok() && cpus(0).is_err() && cpus(65).is_err());
        assert!(overcommit(1.5).is_ok() && overcommit(0.0).is_err() && overcommit(f64::NAN).is_err());
        assert!(alpha(1e-6).is_ok() && alpha(0.0).is_err() && alpha(0.5).is_err() && alpha(f64::NAN).is_err());
        assert!(rounds(1).is_ok() && rounds(0).is_err());
        assert!(
            residual(0.1).is_ok() && residual(0.0).is_err() && residual(1.0).is_err() && residual(f64::NAN).is_err()
        );
        assert!(min_rounds(3, 3).is_ok() && min_rounds(0, 3).is_err() && min_rounds(4, 3).is_err());
    }

    #[test]
    fn an_unknown_compressor_passes_and_a_slip_does_not() {
        for good in ALGORITHMS.into_iter().chain(["snappy", "lz4k"]) {
            assert_eq!(algorithm(good), Ok(()), "{good}");
        }
        for wrong in ["lzo-lre", "deflat", "lz 4", ""] {
            assert!(algorithm(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn options_are_spelled_as_in_a_config_file() {
        for (name, value) in
            [("PREEMPT", "y"), ("HZ", "100"), ("PHYSICAL_START", "0x100000"), ("LOCALVERSION", "\"-a\"")]
        {
            assert_eq!(option(name, value), Ok(()), "{name}");
        }
        for (name, value) in [("CONFIG_SMP", "y"), ("SMP", "true"), ("A B", "y"), ("LOCALVERSION", "-a"), ("X", "0x")] {
            assert!(option(name, value).is_err(), "{name}={value}");
        }
    }
}
