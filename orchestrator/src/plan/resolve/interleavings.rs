//! Interleavings and sweeps as the plan describes them.

use std::collections::{BTreeMap, BTreeSet};

use super::context::Context;
use crate::diagram::{self, Diagram, DiagramError, Operated, StepLine, held_point};
use crate::journal::interleaving::ForcedExpectation;
use crate::plan::model::{ConfigLayer, Interleaving, Kernel, Operation, Sweep, Test};
use crate::plan::schema::{ByThread, Expect, OrText, Scalar};
use crate::plan::yaml::KeyPath;
use crate::plan::{schema, validate};
use crate::suggest::did_you_mean_or;

/// The argument that says how to race threads when nothing forces an order.
const STRATEGY: &str = "strategy";

/// Whether the plan has an interleaving or a sweep.
pub(super) fn written(context: Context) -> bool {
    ["interleaving", "sweep"].into_iter().any(|key| context.document.has(&KeyPath::root().key(key)))
}

pub(super) fn resolve(
    context: Context,
    raw: &schema::Plan,
    kernels: &[Kernel],
    tests: &[Test],
) -> (Vec<Interleaving>, Vec<Sweep>) {
    let mut names: BTreeSet<String> = tests.iter().map(|test| test.name.clone()).collect();
    let mut interleavings = Vec::new();
    for (path, raw) in items(context, "interleaving", &raw.interleaving) {
        name(context, &path, &raw.name, "interleaving", &mut names);
        interleavings.extend(interleaving(context, &path, raw, kernels, tests));
    }
    let mut sweeps = Vec::new();
    for (path, raw) in items(context, "sweep", &raw.sweep) {
        name(context, &path, &raw.name, "sweep", &mut names);
        sweeps.push(sweep(context, &path, raw, tests));
    }
    if written(context) {
        check_debug_information(context, kernels);
    }
    if !context.document.has(&KeyPath::root().key("sweep")) {
        sweeps.extend(derive_sweeps(&interleavings, &names));
    }
    (interleavings, sweeps)
}

/// The items, each with its path in the plan.
fn items<'a, T>(context: Context, key: &str, raw: &'a schema::OneOrMany<T>) -> Vec<(KeyPath, &'a T)> {
    let path = KeyPath::root().key(key);
    let items = raw.items();
    if items.is_empty() && context.document.has(&path) && !context.document.damaged(&path) {
        context.document.error(&path, "the list is empty", Some("take it out".to_owned()));
    }
    let place = |index: Option<usize>| index.map_or_else(|| path.clone(), |index| path.index(index));
    items.into_iter().map(|(index, item)| (place(index), item)).collect()
}

fn name(context: Context, path: &KeyPath, name: &str, what: &str, names: &mut BTreeSet<String>) {
    let at = path.key("name");
    if context.document.damaged(&at) {
        return;
    }
    context.check(&at, validate::name(name));
    if !names.insert(name.to_owned()) {
        let message = format!("a test, an interleaving or a sweep is called '{name}' already");
        context.document.error(&at, message, Some(format!("give the {what} a `name:` of its own")));
    }
}

/// The program and its arguments, taken from the tests where the plan leaves them out.
fn program(
    context: Context,
    path: &KeyPath,
    (run, args): (Option<&String>, Option<&BTreeMap<String, Scalar>>),
    tests: &[Test],
) -> (String, BTreeMap<String, String>) {
    let programs: BTreeSet<&str> = tests
        .iter()
        .filter(|test| test.program.is_none())
        .map(|test| test.run.as_str())
        .filter(|run| !run.is_empty())
        .collect();
    let run = match (run, programs.first()) {
        (Some(run), _) => {
            context.check(&path.key("run"), validate::word(run, "program"));
            run.clone()
        }
        (None, Some(only)) if programs.len() == 1 => (*only).to_owned(),
        (None, _) => {
            let hint = if programs.is_empty() {
                "the program whose threads act it out, such as `run: swap-race`".to_owned()
            } else {
                let programs: Vec<&str> = programs.into_iter().collect();
                format!("the tests run several programs: {}", programs.join(", "))
            };
            context.document.missing(path, "run", Some(hint));
            String::new()
        }
    };
    let args = if let Some(args) = args {
        let at = path.key("args");
        for key in args.keys() {
            context.check(&at.key(key), validate::word(key, "argument"));
        }
        context.scalars(&at, args)
    } else {
        let test = tests.iter().find(|test| test.run == run && test.program.is_none());
        let args = test.into_iter().flat_map(|test| &test.args).filter(|(key, _)| *key != STRATEGY);
        args.map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    (run, args)
}

fn interleaving(
    context: Context,
    path: &KeyPath,
    raw: &schema::Interleaving,
    kernels: &[Kernel],
    tests: &[Test],
) -> Option<Interleaving> {
    let (run, args) = program(context, path, (raw.run.as_ref(), raw.args.as_ref()), tests);
    context.check(&path.key("rounds"), validate::rounds(raw.rounds));
    context.check(&path.key("deadline"), validate::interval(raw.deadline.0));
    let expect = expect(context, &path.key("expect"), &raw.expect, kernels);
    let diagram = match (&raw.diagram, &raw.steps) {
        (Some(_), Some(_)) => {
            context.document.error(path, "found diagram and steps, expected one of them", None);
            return None;
        }
        (Some(text), None) => {
            let at = path.key("diagram");
            let place = |error: &DiagramError| (at.clone(), (error.row, error.column, error.length));
            drawn(context, diagram::parse_drawing(text), place)?
        }
        (None, Some(steps)) => self::steps(context, &path.key("steps"), steps)?,
        (None, None) => {
            let missing = !["diagram", "steps"].iter().any(|key| context.document.has(&path.key(key)));
            if missing {
                let hint = "what is to happen: `diagram: |` and a drawing in columns, or `steps:` and a list";
                context.document.missing(path, "diagram", Some(hint.to_owned()));
            } else if !["diagram", "steps"].iter().any(|key| context.document.damaged(&path.key(key))) {
                context.document.error(&path.key("diagram"), "the diagram has no step", None);
            }
            return None;
        }
    };
    Some(Interleaving {
        name: raw.name.clone(),
        run,
        args,
        diagram,
        rounds: raw.rounds,
        deadline: raw.deadline.0,
        expect,
    })
}

/// Reports the errors of a diagram, each at its place.
fn drawn(
    context: Context,
    read: Result<Diagram, Vec<DiagramError>>,
    place: impl Fn(&DiagramError) -> (KeyPath, (usize, usize, usize)),
) -> Option<Diagram> {
    read.map_err(|errors| {
        for error in errors {
            let (path, within) = place(&error);
            context.document.text_error(&path, within, error.message, error.hint);
        }
    })
    .ok()
}

fn steps(context: Context, path: &KeyPath, raw: &[ByThread<OrText<schema::At>>]) -> Option<Diagram> {
    let mut lines = Vec::new();
    let mut places = Vec::new();
    for (index, step) in raw.iter().enumerate() {
        let path = path.index(index);
        for (thread, said) in &step.0 {
            let at = path.key(thread);
            let (place, text, point) = match said {
                OrText::Text(text) => (at, text, false),
                OrText::Full(full) => (at.key("at"), &full.at, true),
            };
            lines.push(StepLine { thread: thread.clone(), text: text.clone(), point });
            places.push(place);
        }
        if step.0.len() != 1 && !context.document.damaged(&path) {
            let message = format!("found {} threads, expected one", step.0.len());
            context.document.error(&path, message, Some("a step is `{THREAD: what it does}`".to_owned()));
            return None;
        }
    }
    if context.document.damaged(path) {
        return None;
    }
    let place = |error: &DiagramError| (places.get(error.row).unwrap_or(path).clone(), (0, error.column, error.length));
    drawn(context, diagram::parse_steps(&lines), place)
}

fn expect(context: Context, path: &KeyPath, raw: &Expect, kernels: &[Kernel]) -> BTreeMap<String, ForcedExpectation> {
    let variants: BTreeSet<&str> =
        kernels.iter().flat_map(|kernel| &kernel.variants).map(|variant| variant.name.as_str()).collect();
    match raw {
        Expect::All(word) => variants.into_iter().map(|variant| (variant.to_owned(), *word)).collect(),
        Expect::Each(words) => {
            for variant in words.keys().filter(|name| !variants.contains(name.as_str())) {
                let hint = did_you_mean_or(variant, variants.iter().copied(), "variants of this plan");
                context.document.key_error(&path.key(variant), format!("no variant is called '{variant}'"), hint);
            }
            words.clone()
        }
    }
}

fn sweep(context: Context, path: &KeyPath, raw: &schema::Sweep, tests: &[Test]) -> Sweep {
    let (run, args) = program(context, path, (raw.run.as_ref(), raw.args.as_ref()), tests);
    context.check(&path.key("deadline"), validate::interval(raw.deadline.0));
    let at = path.key("victim");
    if raw.victim.is_none() && !context.document.has(&at) {
        context.document.missing(path, "victim", Some("the operation that is held: `victim: read page`".to_owned()));
    }
    let nobody = || Operation { thread: String::new(), operation: String::new(), object: None };
    let victim = raw.victim.as_ref().map_or_else(nobody, |victim| operation(context, &at, victim, "victim"));
    let at = path.key("interferer");
    let doings = raw.interferer.items();
    if doings.is_empty() {
        context.no_items(path, "interferer", "operation");
    }
    let mut interferers = Vec::new();
    for (index, doing) in doings {
        let at = index.map_or_else(|| at.clone(), |index| at.index(index));
        let interferer = operation(context, &at, doing, "interferer");
        if interferer.thread == victim.thread && !victim.thread.is_empty() {
            let message = format!("`{}` is held meanwhile", victim.thread);
            context.document.error(&at, message, Some("let another thread do it".to_owned()));
        }
        interferers.push(interferer);
    }
    if raw.functions.is_empty() {
        context.no_items(path, "functions", "function");
    }
    let mut functions = Vec::new();
    for (index, function) in raw.functions.iter().enumerate() {
        match diagram::parse_names(function) {
            Ok(names) => functions.push(names),
            Err(message) => context.document.error(&path.key("functions").index(index), message, None),
        }
    }
    for (index, callee) in raw.callees.iter().enumerate() {
        context.check(&path.key("callees").index(index), validate::kernel_source(callee));
    }
    Sweep {
        name: raw.name.clone(),
        run,
        args,
        victim,
        interferers,
        functions,
        callees: raw.callees.clone(),
        deadline: raw.deadline.0,
    }
}

/// `read page`, or `{reader: read page}`.
fn operation(context: Context, path: &KeyPath, raw: &OrText<ByThread<String>>, thread: &str) -> Operation {
    let (at, thread, text) = match raw {
        OrText::Text(text) => (path.clone(), thread, text.as_str()),
        OrText::Full(ByThread(map)) => match map.iter().next() {
            Some((thread, text)) if map.len() == 1 => {
                context.check(path, validate::thread(thread));
                (path.key(thread), thread.as_str(), text.as_str())
            }
            _ => {
                if !context.document.damaged(path) {
                    let message = format!("found {} threads, expected one", map.len());
                    context.document.error(path, message, Some("write `{THREAD: OPERATION}`".to_owned()));
                }
                return Operation { thread: String::new(), operation: String::new(), object: None };
            }
        },
    };
    let (operation, object) = diagram::parse_operation(text).unwrap_or_else(|message| {
        context.document.error(&at, message, None);
        (String::new(), None)
    });
    Operation { thread: thread.to_owned(), operation, object }
}

/// Points are found through debug information. A ready kernel is checked when it is read.
fn check_debug_information(context: Context, kernels: &[Kernel]) {
    let has = |layer: &ConfigLayer| match layer {
        ConfigLayer::Fragment(path) => path.file_stem().is_some_and(|stem| stem == "symbols"),
        ConfigLayer::Inline(options) => options
            .iter()
            .any(|(name, value)| name.starts_with("DEBUG_INFO") && name != "DEBUG_INFO_NONE" && value != "n"),
    };
    for (index, kernel) in kernels.iter().enumerate() {
        if kernel.source.is_ready() || kernel.config.iter().any(has) {
            continue;
        }
        let path = KeyPath::keys(&["kernels"]).index(index);
        let config = path.key("config");
        let at = if context.document.has(&config) { config } else { path.key("name") };
        if context.document.damaged(&at) {
            continue;
        }
        let message = format!("kernel '{}' is built without debug information, which forcing needs", kernel.name);
        context.document.error(&at, message, Some("add `symbols` to its `config:`".to_owned()));
    }
}

/// Makes a sweep of each interleaving that holds a thread in a function while others run. Names in
/// `names` are taken.
fn derive_sweeps(interleavings: &[Interleaving], names: &BTreeSet<String>) -> Vec<Sweep> {
    let mut names = names.clone();
    let mut sweeps: Vec<Sweep> = interleavings.iter().filter_map(derive_sweep).collect();
    for sweep in &mut sweeps {
        while !names.insert(sweep.name.clone()) {
            sweep.name.push_str("-sweep");
        }
    }
    sweeps
}

/// The victim is the first thread that is held; its interferers are the operations that other
/// threads begin before its release.
fn derive_sweep(interleaving: &Interleaving) -> Option<Sweep> {
    let held = held_point(&interleaving.diagram)?;
    let operation = |Operated { thread, operation, object }: Operated| Operation {
        thread: interleaving.diagram.threads[thread].clone(),
        operation,
        object,
    };
    Some(Sweep {
        name: match interleaving.name.as_str() {
            "interleaving" => "sweep".to_owned(),
            name => format!("{name}-sweep"),
        },
        run: interleaving.run.clone(),
        args: interleaving.args.clone(),
        victim: operation(held.victim),
        interferers: held.meanwhile.into_iter().map(operation).collect(),
        functions: vec![held.function],
        callees: Vec::new(),
        deadline: interleaving.deadline,
    })
}
