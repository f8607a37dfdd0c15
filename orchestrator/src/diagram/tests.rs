//! Every rule of the language.

use std::fmt::Write as _;

use kernel_debug::{Names, Point};
use proptest::prelude::*;

use super::*;

/// The diagram of the swap race.
const RACE: &str = "\
victim                               interferer
------                               ----------
read page                            .
  do_swap_page: after swap_readpage  .
hold                                 .
.                                    write page
.                                    pageout page
release                              .
";

fn names(names: &[&str]) -> Names {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn operate(operation: &str, object: Option<&str>, started: bool) -> Action {
    Action::Operate { operation: operation.to_owned(), object: object.map(str::to_owned), started }
}

fn good(text: &str) -> Diagram {
    parse_drawing(text).unwrap_or_else(|errors| panic!("{}", told(text, &errors)))
}

/// Thread and action of each step.
fn said(diagram: &Diagram) -> Vec<(usize, Action)> {
    diagram.steps.iter().map(|step| (step.thread, step.action.clone())).collect()
}

/// Errors with a line under the characters that they are about.
fn told(text: &str, errors: &[DiagramError]) -> String {
    let mut out = String::new();
    for DiagramError { row, column, length, message, hint } in errors {
        let line = text.lines().nth(*row).unwrap_or_default().replace('\t', "→");
        let hint = hint.as_ref().map_or_else(String::new, |hint| format!(" ({hint})"));
        let _ = writeln!(out, "{line}\n{}{} {message}{hint}", " ".repeat(*column), "^".repeat(*length));
    }
    out
}

/// What is said about each drawing.
fn wrong(drawings: &[&str]) -> String {
    let tell = |drawing: &&str| match parse_drawing(drawing) {
        Ok(diagram) => panic!("nothing is found wrong with\n{drawing}\n{diagram:?}"),
        Err(errors) => told(drawing, &errors),
    };
    drawings.iter().map(tell).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_race_is_read_as_it_is_drawn() {
    let diagram = good(RACE);
    assert_eq!(diagram.threads, ["victim", "interferer"]);
    assert_eq!(diagram.drawing, RACE.lines().collect::<Vec<_>>());
    let point = Point::After(names(&["do_swap_page"]), names(&["swap_readpage"]));
    assert_eq!(
        said(&diagram),
        [
            (0, operate("read", Some("page"), false)),
            (0, Action::Reach(point)),
            (0, Action::Hold(Hold::Sleep)),
            (1, operate("write", Some("page"), false)),
            (1, operate("pageout", Some("page"), false)),
            (0, Action::Release),
        ]
    );
    assert_eq!(diagram.steps[1].text, "do_swap_page: after swap_readpage");
    assert_eq!(diagram.steps[1].row, 3);
    for step in &diagram.steps {
        assert!(diagram.drawing[step.row].contains(&step.text), "{step:?}");
    }
}

#[test]
fn what_does_not_matter_does_not_matter() {
    let plain = said(&good(RACE));
    let crlf = RACE.replace('\n', "\r\n");
    let trailing = RACE.replace('\n', "   \n") + "\n  \n";
    let leading = format!("\n\n{RACE}");
    let bare = RACE.replace(" .\n", "\n").replace("------                               ----------\n", "");
    let comments = RACE.replace('\n', " # said of it\n").replace("hold ", "# in between\nhold ");
    let ruler = RACE.replace('-', "=");
    let shifted = format!("     {}", RACE.trim_end().replace('\n', "\n     "));
    let slipped =
        RACE.replace(".                                    write", ".                                  write");
    let deeper = RACE.replace("  do_swap_page: after swap_readpage", "      do_swap_page:after swap_readpage");
    for text in [crlf, trailing, leading, bare, comments, ruler, shifted, slipped, deeper] {
        assert_eq!(said(&good(&text)), plain, "{text}");
    }
    assert!(good(&format!("\n{RACE}\n\n")).drawing.iter().eq(RACE.lines()), "empty lines around it go");
    assert_eq!(good(&format!("\n\n{RACE}")).steps[0].row, 2, "rows are those of the drawing that is kept");
}

#[test]
fn points_have_six_forms() {
    let swap = || names(&["swap_readpage", "swap_read_folio"]);
    for (text, point) in [
        ("do_swap_page", Point::Entry(names(&["do_swap_page"]))),
        ("f: after swap_readpage|swap_read_folio", Point::After(names(&["f"]), swap())),
        ("swap_readpage | swap_read_folio : before g", Point::Before(swap(), names(&["g"]))),
        ("swap_readpage|swap_read_folio", Point::Entry(swap())),
        ("f: return", Point::Return(names(&["f"]))),
        ("f.isra.0+0x1f", Point::Offset(names(&["f.isra.0"]), 31)),
        ("f+31", Point::Offset(names(&["f"]), 31)),
        ("f+0x1f/0x890", Point::Offset(names(&["f"]), 31)),
        ("mm/memory.c:3811", Point::Line("mm/memory.c".to_owned(), 3811)),
        ("memory.c: 3811", Point::Line("memory.c".to_owned(), 3811)),
    ] {
        assert_eq!(parse_point(text).as_ref(), Ok(&point), "{text}");
        assert_eq!(parse_point(&point.to_string()), Ok(point), "{text}");
    }
}

#[test]
fn a_single_word_is_an_operation_under_the_name_and_a_point_set_in() {
    let diagram = good(
        "\
a            b
fork         .
  hold_it    .
hold         .
.            swapoff
release      .
",
    );
    assert_eq!(diagram.steps[0].action, operate("fork", None, false));
    assert_eq!(diagram.steps[1].action, Action::Reach(Point::Entry(names(&["hold_it"]))));
    assert_eq!(diagram.steps[3].action, operate("swapoff", None, false));
}

#[test]
fn three_threads_with_names_in_any_script() {
    let diagram = good(
        "\
größe-1           жертва            c.3
start read page
  f
freeze
                  start write page
                    mm/x.c:7
                                    pageout page
release
                  finish
                                    read page
",
    );
    assert_eq!(diagram.threads, ["größe-1", "жертва", "c.3"]);
    let threads: Vec<usize> = diagram.steps.iter().map(|step| step.thread).collect();
    assert_eq!(threads, [0, 0, 0, 1, 1, 2, 0, 1, 2]);
    assert_eq!(diagram.steps[2].action, Action::Hold(Hold::Freeze));
    assert_eq!(diagram.steps[3].action, operate("write", Some("page"), true));
}

#[test]
fn an_operation_may_stop_more_than_once_and_finish_late() {
    good(
        "a             b\nread page\n  f: before g\nhold\n              write page\nrelease\n  f: return\nhold\nrelease\n",
    );
    good("a             b\nstart read page\n  f\nhold\nrelease\n              write page\nfinish\n");
    good("a             b\nread page\n  f\n  g\nhold\n              start write page\nrelease\n              finish\n");
}

#[test]
fn rows_that_cannot_be_read() {
    let rows = |row: &str| RACE.replace(".                                    write page", row);
    insta::assert_snapshot!(wrong(&[
        "",
        "   \n# nothing\n",
        "victim  interferer\n------  ----------\n",
        &RACE.replace("hold ", "hodl "),
        &RACE.replace("release", "relaese"),
        &rows("\tx"),
        &rows(".                 write page"),
        &rows(".    write page"),
        &rows("                                                 write page"),
        &rows("                            write page"),
        &rows("hold                                 write page"),
        &rows("hold  tight                          ."),
        &rows(".                                    hold on"),
        &rows(".                                    write page now"),
        &rows(".                                    wrîte page"),
        &rows(".                                    start"),
        &rows(".                                    start hold it now"),
        "a  b\n read page\n",
        "a  b\n  read page\n",
        "a b\nread page\n",
        "a  a,b  a\nread page\n",
        "victim              interferer\nread page\n  do_swap_page: set after page\nhold\nrelease\n",
        "victim          interferer\nread page\n  do_swap_page: after swap_readpage\nhold\nrelease\n",
    ]));
}

#[test]
fn points_that_cannot_be_read() {
    let drawings = [
        "do_swap_page: afer swap_readpage",
        "do_swap_page: at swap_readpage",
        "do_swap_page: after",
        "do_swap_page: after swap readpage",
        "do_swap_page: return now",
        "do_swap_page:",
        "do swap: return",
        "do_swap_page|: return",
        "do_swap_page:3811",
        "mm/memory.c:0",
        "mm/memory.c:99999999999",
        "do_swap_page+0xgg",
        "do_swap_page+",
        "do_swap_page+0x10/x",
        "1st",
        "do-swap",
    ]
    .map(|point| RACE.replace("do_swap_page: after swap_readpage  .", point));
    insta::assert_snapshot!(wrong(&drawings.each_ref().map(String::as_str)));
}

#[test]
fn steps_that_cannot_follow_each_other() {
    let cases = [
        ("a point before any operation", "  f\nread page\n  f\nhold\nrelease\n"),
        ("a point after the operation is over", "read page\n  f\nhold\nrelease\n                write page\n  f\n"),
        ("a point after finish", "start read page\nfinish\n  f\nhold\nrelease\n"),
        ("hold without a point", "read page\nhold\nrelease\n"),
        ("hold in the middle of an operation", "start read page\nhold\nrelease\n"),
        ("hold after another's step", "read page\n  f\n                write page\nhold\nrelease\n"),
        (
            "hold after another's point",
            "start read page\n                read page\n                  g\nhold\nrelease\n                finish\n",
        ),
        ("hold twice", "read page\n  f\nhold\nfreeze\nrelease\n"),
        ("release of one that runs", "read page\n  f\nrelease\n                write page\n"),
        ("release of one that is idle", "read page\n                release\n"),
        ("release twice", "read page\n  f\nhold\nrelease\nrelease\n"),
        ("an operation of one that is held", "read page\n  f\nhold\nwrite page\nrelease\n"),
        ("an operation of one that runs", "start read page\nwrite page\n"),
        ("a point that is not set in", "read page\n  f\ndo_swap_page\nhold\nrelease\n"),
        ("a point of one that is held", "read page\n  f\nhold\n  g\nrelease\n"),
        ("finish without start", "read page\nfinish\n"),
        ("finish of one that is held", "read page\n  f\nhold\nfinish\n"),
        ("held for ever", "read page\n  f\nhold\n                write page\n"),
        ("running for ever", "start read page\n                write page\n  f\n"),
        ("nothing held", "read page\n                write page\n"),
        ("a thread misspelt", "read page\n  f\nhold\n                                victm\n"),
        ("two at once", "hold\n                release\nread page\n  f\nhold\n"),
    ];
    let mut all = String::new();
    for (what, rows) in cases {
        let name =
            if what == "a thread misspelt" { "victim          x               victm" } else { "a               b" };
        let rows = if what == "a thread misspelt" { rows.replace("   victm", "   release") } else { rows.to_owned() };
        let _ = write!(all, "--- {what}\n{}", wrong(&[&format!("{name}\n{rows}")]));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn a_row_that_cannot_be_read_hides_no_other_error_and_makes_none_up() {
    let text = RACE.replace("hold ", "hodl ").replace("pageout page", "pageout the page");
    let errors = parse_drawing(&text).expect_err("two slips");
    assert_eq!(errors.len(), 2, "{}", told(&text, &errors));
    assert_eq!((errors[0].row, errors[0].column, errors[0].length), (4, 0, 4));
    assert_eq!((errors[1].row, errors[1].column), (6, 37 + 12));
}

fn line(thread: &str, text: &str) -> StepLine {
    StepLine { thread: thread.to_owned(), text: text.to_owned(), point: false }
}

fn at(thread: &str, text: &str) -> StepLine {
    StepLine { point: true, ..line(thread, text) }
}

#[test]
fn a_step_list_is_the_same_as_its_drawing() {
    let list = [
        line("victim", "read page"),
        at("victim", "do_swap_page"),
        line("victim", "freeze"),
        line("interferer", "write  page"),
        line("victim", "release"),
    ];
    let diagram = parse_steps(&list).expect("a good list");
    insta::assert_snapshot!(diagram.drawing.join("\n"), @r"
    victim          interferer
    ------          ----------
    read page       .
      do_swap_page  .
    freeze          .
    .               write page
    release         .
    ");
    assert_eq!(parse_drawing(&diagram.drawing.join("\n")).as_ref(), Ok(&diagram));
    assert_eq!(parse_steps(&[line("a", "f: return")]).expect_err("no operation")[0].row, 0);
}

#[test]
fn errors_of_a_step_list_name_the_step() {
    let errors = |list: &[StepLine]| -> Vec<String> {
        let errors = parse_steps(list).expect_err("something is wrong with it");
        errors.into_iter().map(|it| format!("{}:{}+{} {}", it.row, it.column, it.length, it.message)).collect()
    };
    assert_eq!(errors(&[]), ["0:0+1 the diagram has no step"]);
    assert_eq!(
        errors(&[line("victim", "read page"), line("victim", "hodl"), line("a b", "write page"), at("", "f")]),
        [
            "1:0+4 'hodl' means nothing here",
            "2:0+1 the thread's name 'a b' has ' ' in it",
            "3:0+1 the thread's name is empty"
        ]
    );
    let list = [line("victim", "read page"), at("victim", "f"), line("victim", "hold"), line("victm", "release")];
    assert_eq!(
        errors(&list),
        ["2:0+4 `victim` is held here and never let go", "3:0+7 `victm` has not begun an operation"]
    );
    let hint = parse_steps(&list).expect_err("misspelt")[1].hint.clone();
    assert_eq!(hint.as_deref(), Some("did you mean `victim`?"));
}

#[test]
fn a_sweep_does_what_the_diagram_holds() {
    let held = held_point(&good(RACE)).expect("there is a hold");
    assert_eq!(held.function, ["do_swap_page"]);
    assert_eq!((held.victim.thread, held.victim.operation.as_str()), (0, "read"));
    assert_eq!(held.victim.object.as_deref(), Some("page"));
    let others: Vec<(usize, &str)> = held.meanwhile.iter().map(|it| (it.thread, it.operation.as_str())).collect();
    assert_eq!(others, [(1, "write"), (1, "pageout")]);

    let three = "a           b           c\n";
    let nested = format!(
        "{three}            unmap\nstart read page\n  f|g: before h\nhold\n            write x\n              k\n            freeze\n\
         \x20                       fork\n            release\nrelease\n                        pageout page\n"
    );
    let held = held_point(&good(&nested)).expect("there is a hold");
    assert_eq!(held.function, ["f", "g"]);
    let others: Vec<(usize, &str)> = held.meanwhile.iter().map(|it| (it.thread, it.operation.as_str())).collect();
    assert_eq!(others, [(1, "write"), (2, "fork")]);

    let line = RACE.replace("do_swap_page: after swap_readpage", "mm/memory.c:3811");
    assert_eq!(held_point(&good(&line)), None, "a line names no function");
    let alone = RACE.replace("write page", "").replace("pageout page", "");
    assert_eq!(held_point(&good(&alone)), None, "nothing is done meanwhile");
}

/// A list of steps that can follow each other, from any numbers.
fn list(threads: &[String], choices: &[(usize, usize)]) -> Vec<StepLine> {
    const POINTS: [&str; 6] =
        ["f", "do_swap_page: after swap_readpage|swap_read_folio", "f: return", "f+0x1f", "mm/a.c:7", "g: before h"];
    const OPERATIONS: [&str; 4] = ["read page", "fork", "start write page", "start unmap"];
    let mut list = Vec::new();
    let mut held: Vec<usize> = Vec::new();
    for &(thread, choice) in choices {
        let thread = thread % threads.len();
        let name = &threads[thread];
        if held.contains(&thread) {
            held.retain(|other| *other != thread);
            list.push(line(name, "release"));
            continue;
        }
        list.push(line(name, OPERATIONS[choice % 4]));
        if choice % 3 > 0 {
            list.push(at(name, POINTS[choice % 6]));
            list.push(line(name, if choice % 2 == 0 { "hold" } else { "freeze" }));
            held.push(thread);
        } else if choice % 4 > 1 {
            list.push(line(name, "finish"));
        }
    }
    list.extend(held.into_iter().map(|thread| line(&threads[thread], "release")));
    list
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_laid_out_reads_back(
        threads in prop::collection::btree_set("[a-zé0-9_][a-zé0-9_.-]{0,20}", 1..5),
        choices in prop::collection::vec((0..5_usize, 0..24_usize), 1..20),
    ) {
        let threads: Vec<String> = threads.into_iter().collect();
        let list = list(&threads, &choices);
        match parse_steps(&list) {
            Ok(diagram) => {
                let text = diagram.drawing.join("\n");
                prop_assert_eq!(parse_drawing(&text), Ok(diagram), "{}", text);
            }
            Err(errors) => {
                prop_assert!(errors.iter().all(|it| it.message.contains("nothing is held")), "{:?} {:?}", list, errors);
            }
        }
    }

    #[test]
    fn nothing_panics_and_every_error_is_in_the_text(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..6_usize, "[ .a|:+#\t\r\né0-9-]{0,6}"), 1..6)
    ) {
        let mut text = RACE.to_owned();
        for (at, cut, piece) in edits {
            let bounds: Vec<usize> = text.char_indices().map(|(index, _)| index).chain([text.len()]).collect();
            let from = at.index(bounds.len());
            let to = (from + cut).min(bounds.len() - 1);
            text.replace_range(bounds[from]..bounds[to], &piece);
        }
        for error in parse_drawing(&text).err().into_iter().flatten() {
            let line = text.lines().nth(error.row).unwrap_or_default();
            prop_assert!(error.length > 0);
            prop_assert!(error.column + error.length <= line.chars().count().max(1), "{:?} {:?}", error, line);
        }
    }
}
