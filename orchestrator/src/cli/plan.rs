//! `twinboot plan check|show|schema`: looks at plans without running anything.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::build;
use crate::journal::interleaving::ForcedExpectation;
use crate::journal::rules::Expectation;
use crate::plan::model::{BaseConfig, ConfigLayer, Interleaving, Kernel, Operation, Plan, Swap, Sweep, Variant};
use crate::plan::schema::{Interval, Size};
use crate::plan::yaml::Style;
use crate::plan::{self, schema};
use crate::printable::{self, indented_line, paragraph};

/// Exit code when all is well.
const OK: u8 = 0;
/// Exit code for a plan with errors.
const PLAN_ERROR: u8 = 2;

/// How `plan show` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Human,
    /// The resolved plan, for programs.
    Json,
}

/// Where results and errors go.
pub struct Output<'a> {
    /// Standard output.
    pub out: &'a mut dyn Write,
    /// Standard error.
    pub err: &'a mut dyn Write,
    /// How errors are shown.
    pub style: Style,
}

/// Loads a plan and prints what is wrong with it; none when something is.
///
/// # Errors
///
/// When the output cannot be written.
pub fn load(path: &Path, data: Option<&Path>, output: &mut Output) -> io::Result<Option<Plan>> {
    match plan::load(path, data) {
        Ok(plan) => Ok(Some(plan)),
        Err(error) => refuse(&error, output).map(|()| None),
    }
}

/// `plan check`: a line for each good plan, the errors of the others and of the files they name; gives the exit code.
///
/// # Errors
///
/// When the output cannot be written.
pub fn check(plans: &[PathBuf], data: Option<&Path>, output: &mut Output) -> io::Result<u8> {
    let mut code = OK;
    for path in plans {
        let plan::Examined { plan, errors } = match plan::examine(path, data) {
            Ok(examined) => examined,
            Err(error) => {
                refuse(&error, output)?;
                code = PLAN_ERROR;
                continue;
            }
        };
        for diagnostics in &errors {
            write!(output.err, "{}", diagnostics.render(output.style))?;
        }
        let problems = plan.as_ref().map(build::check_inputs).unwrap_or_default();
        for problem in &problems {
            // A line for each thing that is wrong in a file.
            for line in problem.lines() {
                writeln!(output.err, "{}", indented_line(line))?;
            }
        }
        let Some(plan) = plan.filter(|_| errors.is_empty() && problems.is_empty()) else {
            code = PLAN_ERROR;
            continue;
        };
        let variants: usize = plan.kernels.iter().map(|kernel| kernel.variants.len()).sum();
        writeln!(
            output.out,
            "ok: {}: {}, {}, {}{}",
            plan.name,
            count(plan.kernels.len(), "kernel"),
            count(variants, "variant"),
            count(plan.cells.len(), "cell"),
            if plan.forced.is_empty() { String::new() } else { format!(", {} to force", plan.forced.len()) },
        )?;
    }
    Ok(code)
}

/// Prints why a plan could not be loaded.
fn refuse(error: &plan::Error, output: &mut Output) -> io::Result<()> {
    match error {
        plan::Error::Plan(diagnostics) => write!(output.err, "{}", diagnostics.render(output.style)),
        plan::Error::Read { source, .. } | plan::Error::Lock { source, .. } => {
            writeln!(output.err, "{}", paragraph(&format!("{error}: {source}")))
        }
        plan::Error::Roots(_) => writeln!(output.err, "{}", paragraph(&error.to_string())),
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// `plan show`: the plan as it would be run; gives the exit code.
///
/// # Errors
///
/// When the output cannot be written.
pub fn show(path: &Path, data: Option<&Path>, format: Format, output: &mut Output) -> io::Result<u8> {
    let Some(plan) = load(path, data, output)? else { return Ok(PLAN_ERROR) };
    match format {
        Format::Human => human(&plan, output.out)?,
        Format::Json => json(&plan, output.out)?,
    }
    Ok(OK)
}

/// `plan schema`: the JSON schema of plans; gives the exit code.
///
/// # Errors
///
/// When the output cannot be written.
pub fn print_schema(output: &mut Output) -> io::Result<u8> {
    json(&schema::json_schema(), output.out)?;
    Ok(OK)
}

/// Writes `value` as JSON.
///
/// # Errors
///
/// When the output cannot be written.
pub fn json(value: &impl serde::Serialize, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", printable::json(&serde_json::to_string_pretty(value)?))
}

/// Writes a plan for people.
///
/// # Errors
///
/// When the output cannot be written.
pub fn human(plan: &Plan, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "plan {} ({})", plan.name, plan.path.display())?;
    for kernel in &plan.kernels {
        writeln!(out, "\nkernel {}", kernel.name)?;
        writeln!(out, "  source  {}", kernel.source)?;
        if let Some(locked) = &kernel.locked {
            writeln!(out, "  locked  {} by {}", locked.identity, locked.file.display())?;
        }
        if let Some(notes) = &kernel.notes {
            writeln!(out, "  notes   {notes}")?;
        }
        if !kernel.source.is_ready() {
            writeln!(out, "  config  {}", config(kernel))?;
        }
        for variant in &kernel.variants {
            show_variant(variant, out)?;
        }
    }
    for guest in &plan.guests {
        let swap = match &guest.swap {
            None => "no swap".to_owned(),
            Some(Swap::Zram { size, algorithm }) => format!("zram {} {algorithm}", Size(*size)),
            Some(Swap::Brd { size }) => format!("brd {}", Size(*size)),
        };
        writeln!(out, "\nguest {}", guest.name)?;
        writeln!(out, "  {}, {} memory, {swap}", count(guest.cpus as usize, "CPU"), Size(guest.memory))?;
        for (key, value) in &guest.sysctl {
            writeln!(out, "  sysctl  {key} = {value}")?;
        }
        if !guest.cmdline.is_empty() {
            writeln!(out, "  cmdline {}", guest.cmdline)?;
        }
        writeln!(out, "  image   {}", guest.image.display())?;
        writeln!(out, "  clone   {}", guest.clone.name())?;
    }
    for test in &plan.tests {
        writeln!(out, "\ntest {}", test.name)?;
        writeln!(out, "  run     {}", command(&test.run, &test.args))?;
        let stop = &test.stop;
        let limit = |count: Option<u64>, what| count.map_or_else(String::new, |count| format!(", {count} {what}"));
        writeln!(
            out,
            "  rounds  {}, each at most {}{}{}; alpha {:e}, residual {}{}",
            test.rounds,
            Interval(stop.at_most),
            limit(stop.corruptions, "corruptions"),
            limit(stop.exposures, "exposures"),
            stop.alpha,
            stop.residual,
            if stop.sequential { format!("; may stop after {}", stop.min_rounds) } else { String::new() },
        )?;
    }
    for interleaving in &plan.interleavings {
        show_interleaving(interleaving, out)?;
    }
    for sweep in &plan.sweeps {
        show_sweep(sweep, out)?;
    }
    show_cells(plan, out)
}

fn show_interleaving(it: &Interleaving, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\ninterleaving {}", it.name)?;
    writeln!(out, "  run     {}", command(&it.run, &it.args))?;
    writeln!(out, "  rounds  {}, and as many without a hold; a step may take {}", it.rounds, Interval(it.deadline))?;
    for (variant, expect) in &it.expect {
        let expect = match expect {
            ForcedExpectation::Corrupt => "corrupt",
            ForcedExpectation::Clean => "clean",
            ForcedExpectation::Excluded => "excluded",
            ForcedExpectation::Crash => "crash",
            ForcedExpectation::Any => "any",
        };
        writeln!(out, "  expect  {expect} of {variant}")?;
    }
    for row in &it.diagram.drawing {
        writeln!(out, "{}", format!("    {row}").trim_end())?;
    }
    Ok(())
}

fn show_sweep(it: &Sweep, out: &mut dyn Write) -> io::Result<()> {
    let operation = |it: &Operation| {
        let object = it.object.as_ref().map_or_else(String::new, |object| format!(" {object}"));
        format!("{} of {}", it.operation.clone() + &object, it.thread)
    };
    let functions: Vec<String> = it.functions.iter().map(|names| names.join("|")).collect();
    let meanwhile: Vec<String> = it.interferers.iter().map(operation).collect();
    writeln!(out, "\nsweep {}", it.name)?;
    writeln!(out, "  run     {}", command(&it.run, &it.args))?;
    writeln!(out, "  hold    {} at every point of {}", operation(&it.victim), functions.join(", "))?;
    if !it.callees.is_empty() {
        writeln!(out, "  callees {}", it.callees.join(", "))?;
    }
    writeln!(out, "  while   {}; an operation may take {}", meanwhile.join(", "), Interval(it.deadline))
}

fn show_cells(plan: &Plan, out: &mut dyn Write) -> io::Result<()> {
    if !plan.cells.is_empty() {
        let header = ["cell", "kernel", "variant", "guest", "test"].map(str::to_owned);
        let rows = plan
            .cells
            .iter()
            .map(|cell| [&cell.id, &cell.kernel, &cell.variant, &cell.guest, &cell.test].map(String::clone));
        writeln!(out)?;
        table(std::iter::once(header).chain(rows).collect(), out)?;
    }
    for (what, cells) in [("interleaving", &plan.forced), ("sweep", &plan.swept)] {
        if !cells.is_empty() {
            let header = ["cell", "kernel", "variant", "guest", what].map(str::to_owned);
            let rows = cells
                .iter()
                .map(|cell| [&cell.id, &cell.kernel, &cell.variant, &cell.guest, &cell.name].map(String::clone));
            writeln!(out)?;
            table(std::iter::once(header).chain(rows).collect(), out)?;
        }
    }
    if !plan.comparisons.is_empty() {
        writeln!(out)?;
        let header = ["base", "compared with it"].map(str::to_owned);
        let rows = plan.comparisons.iter().map(|pair| [pair.base.clone(), pair.patched.clone()]);
        table(std::iter::once(header).chain(rows).collect(), out)?;
    }
    Ok(())
}

/// A program with its arguments.
fn command(run: &str, args: &BTreeMap<String, String>) -> String {
    args.iter().fold(run.to_owned(), |line, (key, value)| format!("{line} {key}={value}"))
}

fn show_variant(variant: &Variant, out: &mut dyn Write) -> io::Result<()> {
    let expect = match variant.expect {
        Expectation::Corrupt => "expect corrupt",
        Expectation::Clean => "expect clean",
        Expectation::Any => "expect any",
    };
    let base = variant.base.as_ref().map_or_else(String::new, |base| format!(", compared with {base}"));
    writeln!(out, "  variant {}: {expect}{base}", variant.name)?;
    if let Some(image) = &variant.image {
        writeln!(out, "    {image}")?;
    }
    for patch in &variant.patches {
        let reverse = if patch.reverse { " (reversed)" } else { "" };
        writeln!(out, "    patch {}{reverse}", patch.path.display())?;
    }
    Ok(())
}

fn config(kernel: &Kernel) -> String {
    let base = match &kernel.base_config {
        BaseConfig::Allnoconfig => "allnoconfig".to_owned(),
        BaseConfig::Defconfig => "defconfig".to_owned(),
        BaseConfig::File(path) => path.display().to_string(),
    };
    kernel.config.iter().fold(base, |text, layer| match layer {
        ConfigLayer::Fragment(path) => format!("{text} + {}", path.display()),
        ConfigLayer::Inline(options) => {
            options.iter().fold(text, |text, (name, value)| format!("{text} + CONFIG_{name}={value}"))
        }
    })
}

/// Columns as wide as their widest cell.
///
/// # Errors
///
/// When the output cannot be written.
pub fn table<const N: usize>(rows: Vec<[String; N]>, out: &mut dyn Write) -> io::Result<()> {
    let widths: [usize; N] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or_default());
    for row in rows {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let line = cells.join("  ");
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}
