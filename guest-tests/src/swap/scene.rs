//! Swap as a scene: two pages on a swap device that is full but for their slots, and what can be done to them.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Acquire;
use std::sync::{Mutex, MutexGuard, PoisonError};

use twinboot_protocol::orders::Offered;
use twinboot_protocol::{Preflight, SwapEntry};

use super::operations;
use super::settle::Settler;
use super::slate::Slate;
use crate::actors::{Judgement, Performed, Scene};
use crate::ballast::{LEAST_SLOTS, MOST_SLOTS};
use crate::error::Error;
use crate::sys::child::Child;
use crate::sys::{SysError, sched, swaps};

/// What is there to act on.
pub struct SwapScene {
    /// The page at stake, and another one whose slot can be taken from it and given back.
    pub(super) page: Slate,
    pub(super) other: Slate,
    /// Node of the swap device.
    pub(super) device: String,
    /// Somebody switched the device off or on, so that all ballast may be in memory.
    pub(super) switched: AtomicBool,
    /// CPU of each thread.
    pub(super) cpus: Vec<usize>,
    pub(super) children: Mutex<Vec<Child>>,
    backstage: Mutex<Backstage>,
}

/// What only [`Scene::prepare`] uses.
struct Backstage {
    settler: Settler,
    /// Where the page went in each round so far; none where that has to be found anew.
    home: Option<SwapEntry>,
}

impl SwapScene {
    /// Fills the swap device of `ground` with ballast, but for the two pages' slots and `spare` more. A device too large for
    /// ballast is left as it is; a page then has no slot that it comes back to. `cpus` are those of the threads.
    pub fn new(ground: &Preflight, cpus: &[usize], spare: u64) -> Result<Self, Error> {
        let active = swaps::active()?;
        let [swap] = &active[..] else {
            return Err(if active.is_empty() { Error::NoSwap } else { Error::SeveralSwaps(active.len()) });
        };
        crate::preflight::require_known_page_size(ground)?;
        let (free, least) = (swaps::free_slots()?, LEAST_SLOTS + spare);
        if free < least {
            return Err(Error::SwapTooSmall { free, least });
        }
        let first = cpus.first().copied().unwrap_or(0);
        let spare = (swap.slots <= MOST_SLOTS).then_some(spare);
        let settler = sched::on_cpu(first, || Settler::new(swap.slots, 2, 1, spare))?;
        Ok(Self {
            page: Slate::new("page", 0)?,
            other: Slate::new("other", 1)?,
            device: swap.path.clone(),
            switched: AtomicBool::new(false),
            cpus: cpus.to_vec(),
            children: Mutex::default(),
            backstage: Mutex::new(Backstage { settler, home: None }),
        })
    }

    /// The pages by the names that operations take.
    pub(super) fn slate(&self, object: Option<&str>) -> &Slate {
        if object == Some(self.other.name) { &self.other } else { &self.page }
    }

    pub(super) fn children(&self) -> MutexGuard<'_, Vec<Child>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends what was forked.
    fn end_children(&self) -> Result<(), SysError> {
        let children = std::mem::take(&mut *self.children());
        children.into_iter().try_for_each(Child::end)
    }

    /// Runs `work` on the first thread's CPU, where a page that is read or written must be swapped out again.
    fn at_home<T>(&self, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        match self.cpus.first() {
            Some(&cpu) => sched::on_cpu(cpu, work),
            None => work(),
        }
    }

    /// Swaps both pages out, each with a fresh generation, the page at stake to a slot that every thread's CPU finds again.
    fn set(&self, backstage: &mut Backstage) -> Result<SwapEntry, Error> {
        let Backstage { settler, home } = backstage;
        if self.switched.swap(false, Acquire) {
            if swaps::active()?.is_empty() {
                swaps::switch_on(&self.device)?;
            }
            self.page.renew()?;
            self.other.renew()?;
            settler.fill(2)?;
            *home = None;
        }
        if !self.other.is_untouched()? {
            // Its slot may have become another one, and the CPUs' cursors with it.
            *home = None;
            self.other.renew()?;
            let entry = settler.settle(&self.other)?;
            self.other.begin_round(Some(entry));
        }
        self.page.renew()?;
        let mut entry = settler.settle(&self.page)?;
        if *home != Some(entry) && settler.is_tight() {
            let mut cpus = self.cpus.clone();
            cpus.sort_unstable();
            cpus.dedup();
            entry = settler.place(&self.page, &cpus)?;
        }
        *home = Some(entry);
        self.page.begin_round(Some(entry));
        Ok(entry)
    }
}

impl Scene for SwapScene {
    fn operations(&self) -> Vec<Offered> {
        operations::offered(&[self.page.name, self.other.name])
    }

    fn prepare(&self) -> Result<Option<SwapEntry>, Error> {
        self.end_children()?;
        let mut backstage = self.backstage.lock().unwrap_or_else(PoisonError::into_inner);
        self.at_home(|| self.set(&mut backstage)).map(Some)
    }

    fn perform(&self, actor: usize, operation: &str, object: Option<&str>) -> Result<Performed, SysError> {
        operations::perform(self, actor, operation, object)
    }

    fn judge(&self) -> Result<Judgement, Error> {
        self.end_children()?;
        self.at_home(|| {
            let mut damage = self.page.judge();
            if damage.is_none() && !self.other.is_untouched()? {
                damage = self.other.judge();
            }
            let (entry_before, entry_after) = self.page.entries();
            Ok(Judgement { damage, entry_before, entry_after })
        })
    }
}

#[cfg(test)]
mod tests {
    use twinboot_protocol::CorruptionKind;

    use super::*;
    use crate::oracle;

    /// A scene on no swap device at all: pages that stay in memory.
    fn scene() -> SwapScene {
        let scene = SwapScene {
            page: Slate::new("page", 0).expect("a page"),
            other: Slate::new("other", 1).expect("a page"),
            device: "/dev/no-such-device".to_owned(),
            switched: AtomicBool::new(false),
            cpus: vec![0, 1],
            children: Mutex::default(),
            backstage: Mutex::new(Backstage {
                settler: Settler::new(0, 2, 1, None).expect("nothing to fill"),
                home: None,
            }),
        };
        scene.page.renew().expect("renewed");
        scene.other.renew().expect("renewed");
        scene
    }

    fn tell(scene: &SwapScene, actor: usize, operation: &str, object: &str) -> String {
        let object = (!object.is_empty()).then_some(object);
        match scene.perform(actor, operation, object) {
            Ok(Performed { refused: Some(refused), .. }) => format!("refused: {refused}"),
            Ok(Performed { saw, .. }) => saw.unwrap_or_default(),
            Err(error) => format!("failed: {error}"),
        }
    }

    #[test]
    fn every_operation_that_is_offered_is_known() {
        let scene = scene();
        for offer in scene.operations() {
            let told = tell(&scene, 0, &offer.name, offer.objects.first().map_or("", String::as_str));
            assert!(!told.contains("is no operation"), "{told}");
        }
        scene.end_children().expect("ends");
    }

    #[test]
    fn threads_write_parts_of_their_own() {
        let scene = scene();
        assert_eq!(tell(&scene, 0, "write", "page"), "generation 2");
        assert_eq!(tell(&scene, 1, "write", "page"), "generation 3");
        assert_eq!(tell(&scene, 1, "read", "page"), "generation 2 in words 0 to 255, generation 3 in words 256 to 511");
        assert_eq!(tell(&scene, 1, "read", "other"), "generation 1");
        assert_eq!(scene.page.judge(), None);
    }

    #[test]
    fn a_write_that_is_gone_is_damage_though_another_came_after_it() {
        let scene = scene();
        tell(&scene, 1, "write", "page");
        // What a fault that lost the race maps: the page as it was.
        oracle::stamp(scene.page.page.words(0), 0, 1);
        tell(&scene, 0, "write", "page");
        let damage = scene.page.judge().expect("damage");
        assert_eq!((damage.object.as_str(), damage.kind), ("page", CorruptionKind::LostUpdate));
        assert_eq!(damage.expected, "generation 2 in words 256 to 511");
        assert_eq!(damage.found, "generation 1 in words 256 to 511");
        scene.page.renew().expect("renewed");
        assert_eq!(scene.page.judge(), None, "a new round begins well");
    }

    #[test]
    fn what_a_read_must_not_see_is_damage_though_the_page_is_right_at_last() {
        let scene = scene();
        tell(&scene, 1, "write", "page");
        oracle::stamp(scene.page.page.words(0), 0, 1);
        tell(&scene, 0, "read", "page");
        oracle::stamp(scene.page.page.words(0), 0, 2);
        oracle::stamp_words(scene.page.page.words(0), 0..256, 0, 1);
        assert_eq!(scene.page.judge().expect("damage").found, "generation 1 in words 256 to 511");
    }

    #[test]
    fn what_is_dropped_must_not_come_back_and_what_is_not_must_stay() {
        let scene = scene();
        for operation in ["discard", "unmap"] {
            assert_eq!(tell(&scene, 0, operation, "page"), "");
            assert_eq!(scene.page.judge(), None, "zeroes after {operation}");
            oracle::stamp(scene.page.page.words(0), 0, 1);
            assert_eq!(scene.page.judge().expect("damage").expected, "zeroes", "{operation}");
            scene.page.renew().expect("renewed");
        }
        oracle::stamp_words(scene.other.page.words(0), 0..512, 0, 3);
        assert_eq!(scene.other.judge().expect("damage").kind, CorruptionKind::ForeignPage);
    }

    #[test]
    fn refusals_are_told_and_change_nothing() {
        let scene = scene();
        tell(&scene, 0, "unmap", "page");
        assert_eq!(tell(&scene, 1, "read", "page"), "refused: SIGSEGV: a page of zeroes took its place");
        assert_eq!(tell(&scene, 1, "read", "page"), "zeroes", "told once");
        scene.page.renew().expect("renewed");
        tell(&scene, 0, "unmap", "page");
        assert_eq!(tell(&scene, 0, "pageout", "page"), "refused: there is nothing to swap out");
        assert!(tell(&scene, 0, "discard", "page").starts_with("failed: madvise(MADV_DONTNEED)"));
        assert!(tell(&scene, 0, "swapoff", "").starts_with("failed: swapoff on /dev/no-such-device failed"));
    }
}
