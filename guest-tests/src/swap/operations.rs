//! What a thread of the swap scene can be told to do: one operation of the kernel's each.

use std::sync::atomic::Ordering::Release;

use twinboot_protocol::orders::Offered;

use super::scene::SwapScene;
use super::settle::Swappable;
use super::slate::Slate;
use crate::actors::history::Effect;
use crate::actors::{Performed, offer};
use crate::sys::child::Child;
use crate::sys::guarded;
use crate::sys::memory::Advice;
use crate::sys::pagemap::PageState;
use crate::sys::{SysError, swaps};

/// The operations on pages called `pages`.
pub(super) fn offered(pages: &[&str]) -> Vec<Offered> {
    vec![
        offer("read", pages, "reads the whole page, which faults it in from swap"),
        offer("write", pages, "writes a new generation to this thread's part of the page"),
        offer("pageout", pages, "swaps the page out (MADV_PAGEOUT), if this CPU or none has it in its lru-add batch"),
        offer("discard", pages, "drops the page's content (MADV_DONTNEED)"),
        offer("free", pages, "lets the kernel drop the page's content (MADV_FREE)"),
        offer("unmap", pages, "takes the page's mapping away (munmap); touching it then gives zeroes"),
        offer("mlock", pages, "brings the page into memory and keeps it there"),
        offer("munlock", pages, "no longer keeps the page in memory"),
        offer("fork", &[], "forks a child that shares every page and touches none until the round ends"),
        offer("swapoff", &[], "switches the swap device off, which brings everything on it back"),
        offer("swapon", &[], "switches the swap device on again"),
    ]
}

/// Does one of them.
pub(super) fn perform(
    scene: &SwapScene,
    actor: usize,
    operation: &str,
    object: Option<&str>,
) -> Result<Performed, SysError> {
    let slate = scene.slate(object);
    // Whatever an earlier operation of this thread was saved from has been told.
    guarded::caught();
    let performed = match operation {
        "read" => Performed::saw(slate.read()),
        "write" => Performed::saw(format!("generation {}", slate.write(actor, scene.cpus.len())?)),
        "pageout" => page_out(slate)?,
        "discard" => {
            slate.change(Effect::Zero, || slate.page.advise(0, 1, Advice::DontNeed))?;
            Performed::default()
        }
        "free" => {
            slate.change(Effect::MayZero, || slate.page.advise(0, 1, Advice::Free))?;
            Performed::default()
        }
        "unmap" => {
            slate.change(Effect::Zero, || slate.page.unmap())?;
            Performed::default()
        }
        "mlock" => {
            slate.keep_in_memory(true)?;
            Performed::default()
        }
        "munlock" => {
            slate.keep_in_memory(false)?;
            Performed::default()
        }
        "fork" => {
            let child = Child::fork()?;
            let performed = Performed::saw(format!("child {}", child.id()));
            scene.children().push(child);
            performed
        }
        "swapoff" => {
            scene.switched.store(true, Release);
            swaps::switch_off(&scene.device)?;
            Performed::saw(format!("{} is off", scene.device))
        }
        "swapon" => {
            swaps::switch_on(&scene.device)?;
            Performed::saw(format!("{} is on", scene.device))
        }
        other => Performed::refused(format!("`{other}` is no operation of this test's")),
    };
    Ok(match guarded::caught() {
        Some(signal) => Performed { refused: Some(format!("{signal}: a page of zeroes took its place")), ..performed },
        None => performed,
    })
}

/// Swaps it out and looks where it went.
fn page_out(slate: &Slate) -> Result<Performed, SysError> {
    slate.note_touch();
    let before = slate.state()?;
    if before == PageState::Empty {
        return Ok(Performed::refused("there is nothing to swap out"));
    }
    slate.page_out()?;
    Ok(match (before.entry(), slate.state()?) {
        (Some(there), PageState::Swapped(entry)) if there == entry => {
            Performed::saw(format!("was already swapped out to {}:{}", entry.kind, entry.offset))
        }
        (_, PageState::Swapped(entry)) => {
            slate.note_out(entry);
            Performed::saw(format!("swapped out to {}:{}", entry.kind, entry.offset))
        }
        (_, PageState::Present) => {
            Performed::refused(format!("still in memory, {} swap slots are free", swaps::free_slots()?))
        }
        (_, PageState::Empty) => Performed::refused("gone: somebody dropped it"),
    })
}
