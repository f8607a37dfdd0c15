//! The debugger against a stub whose guest does what the test says.

use std::sync::Arc;
use std::time::Duration;

use super::fake::{Fake, Manners, layout, stack};
use super::*;
use crate::Layout;

const POINT: u64 = 0xffff_ffff_8110_6aa0;
const VICTIM: i32 = 3;
const OTHER: i32 = 4;

/// For things that are bound to happen.
const AMPLE: Duration = Duration::from_secs(20);

async fn attached(cpus: usize, manners: Manners) -> (Fake, Debugger) {
    let (fake, stream) = Fake::new(cpus, manners);
    (fake, Debugger::attach(stream, Arc::new(layout())).await.expect("attaches"))
}

fn watch(tid: i32, on_hit: OnHit) -> Watch {
    Watch { tid, addresses: vec![POINT, POINT + 0x40], on_hit }
}

async fn event(debugger: &mut Debugger) -> Event {
    tokio::time::timeout(AMPLE, debugger.event()).await.expect("something happens")
}

/// Returns once the debugger has dealt with everything before.
async fn settle(debugger: &Debugger) {
    debugger.look(&[]).await.expect("looks");
}

fn resumed(machine: &fake::Machine) -> Vec<&str> {
    machine.log.iter().filter(|request| request.starts_with("vCont;")).map(String::as_str).collect()
}

#[tokio::test]
async fn a_hold_is_renewed_until_the_release_and_gives_everything_back_on_another_cpu() {
    for no_acks in [false, true] {
        let (fake, mut debugger) = attached(2, Manners { no_acks, ..Manners::default() }).await;
        debugger.watch(watch(VICTIM, OnHit::Hold)).await.expect("watches");
        fake.arrives(0, VICTIM, POINT);
        let Event::Held(hit) = event(&mut debugger).await else { panic!("not held") };
        assert_eq!((hit.tid, hit.address, hit.cpu), (VICTIM, POINT, 0));
        settle(&debugger).await;
        {
            let machine = fake.machine();
            let asleep = machine.registers(0);
            assert_eq!((asleep.rip, asleep.general[5]), (fake::MSLEEP, 4));
            assert_eq!(machine.peek(asleep.sp()), POINT, "it comes back to where it was");
            assert!(asleep.sp() + 8 + 0x100 <= hit.registers.sp());
            assert_eq!(machine.breakpoints.iter().copied().collect::<Vec<_>>(), [POINT], "only for its return");
        }
        // Wakes up where it slept, and is sent back; then on the other CPU, and back again.
        fake.wakes(0, 0, VICTIM);
        fake.wakes(0, 1, VICTIM);
        settle_until(&debugger, || fake.machine().registers(1).rip == fake::MSLEEP).await;
        let cpu = fake.machine().cpus[0][140..].to_vec();
        assert!(debugger.release(VICTIM).await.expect("is held"));
        assert!(!debugger.release(VICTIM).await.expect("is released already"));
        fake.wakes(1, 0, VICTIM);
        settle_until(&debugger, || fake.machine().breakpoints.is_empty()).await;
        {
            let machine = fake.machine();
            let back = machine.registers(0);
            assert_eq!(back.rip, POINT + 1, "it has executed its instruction");
            assert_eq!((back.general, back.eflags), (hit.registers.general, hit.registers.eflags));
            assert_eq!(machine.cpus[0][140..], cpu, "segments, bases, control registers and x87 state are the CPU's");
            let steps =
                resumed(&machine).into_iter().filter(|request| request.starts_with("vCont;s")).collect::<Vec<_>>();
            assert_eq!(steps, ["vCont;s:1"], "the one that was released, on the CPU where it woke up");
        }
        drop(debugger);
        fake.end().await;
    }
}

#[tokio::test]
async fn naps_that_land_in_padding_leave_the_point_to_others_and_grow() {
    let (fake, stream) = Fake::new(2, Manners::default());
    let landing = fake::MSLEEP - 1;
    let layout = Layout { landing: Some(landing), ..layout() };
    let mut debugger = Debugger::attach(stream, Arc::new(layout)).await.expect("attaches");
    for (hold, first) in [(0, 4..5), (1, 60..201)] {
        debugger.watch(watch(VICTIM, OnHit::Hold)).await.expect("watches");
        fake.arrives(0, VICTIM, POINT);
        let Event::Held(hit) = event(&mut debugger).await else { panic!("not held") };
        settle(&debugger).await;
        {
            let machine = fake.machine();
            let asleep = machine.registers(0);
            assert_eq!(machine.peek(asleep.sp()), landing);
            assert_eq!(machine.breakpoints.iter().copied().collect::<Vec<_>>(), [landing]);
            assert!(
                first.contains(&asleep.general[5]),
                "nap {hold}: as long as the hold before: {}",
                asleep.general[5]
            );
        }
        tokio::time::sleep(Duration::from_millis(60)).await;
        let naps = || fake.machine().log.iter().filter(|request| request.starts_with('G')).count();
        let before = naps();
        fake.wakes(0, 0, VICTIM);
        settle_until(&debugger, || naps() > before).await;
        settle(&debugger).await;
        assert!(fake.machine().registers(0).general[5] >= 15, "a quarter of the hold so far");
        debugger.release(VICTIM).await.expect("is held");
        fake.wakes(0, 1, VICTIM);
        settle_until(&debugger, || fake.machine().breakpoints.is_empty()).await;
        let back = fake.machine().registers(1);
        assert_eq!((back.rip, back.general, back.eflags), (POINT, hit.registers.general, hit.registers.eflags));
        assert!(!resumed(&fake.machine()).iter().any(|request| request.starts_with("vCont;s")), "nothing to step over");
        // It runs on.
        fake.arrives(1, VICTIM, POINT + 0x100);
        settle_until(&debugger, || fake.machine().registers(1).rip == POINT + 0x100).await;
    }
    drop(debugger);
    fake.end().await;
}

/// Waits for the fake's guest to get there, with the debugger kept busy.
async fn settle_until(debugger: &Debugger, there: impl Fn() -> bool) {
    let patience = tokio::time::Instant::now() + AMPLE;
    while !there() {
        assert!(tokio::time::Instant::now() < patience, "never got there");
        settle(debugger).await;
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn other_threads_are_stepped_over_and_one_hit_ends_a_watch() {
    let (fake, mut debugger) = attached(2, Manners { steps: 3, ..Manners::default() }).await;
    debugger.watch(watch(VICTIM, OnHit::Pass)).await.expect("watches");
    fake.arrives(1, OTHER, POINT);
    // Several steps, as a string move takes: the breakpoint stays away until the instruction is done.
    settle_until(&debugger, || fake.machine().registers(1).rip == POINT + 1).await;
    settle(&debugger).await;
    assert_eq!(fake.machine().breakpoints.len(), 2, "the breakpoint is set again");
    assert_eq!(resumed(&fake.machine()).iter().filter(|request| **request == "vCont;s:2").count(), 3);
    fake.arrives(0, VICTIM, POINT + 0x40);
    let Event::Reached(hit) = event(&mut debugger).await else { panic!("not reached") };
    assert_eq!((hit.tid, hit.address), (VICTIM, POINT + 0x40));
    settle_until(&debugger, || fake.machine().breakpoints.is_empty()).await;
    drop(debugger);
    fake.end().await;
}

#[tokio::test]
async fn an_interrupt_on_the_watched_thread_is_not_the_thread() {
    let (fake, mut debugger) = attached(1, Manners::default()).await;
    debugger.watch(watch(VICTIM, OnHit::Hold)).await.expect("watches");
    fake.then(|machine| {
        machine.arrive(0, VICTIM, POINT);
        machine.preempt_count(0, 0x1_0000);
        0
    });
    fake.then(|machine| {
        machine.arrive(0, VICTIM, POINT + 0x40);
        machine.preempt_count(0, 0);
        0
    });
    let Event::Held(hit) = event(&mut debugger).await else { panic!("not held") };
    assert_eq!(hit.address, POINT + 0x40);
    // Neither is one that comes by there during the nap.
    settle(&debugger).await;
    let asleep = fake.machine().registers(0);
    fake.arrives(0, VICTIM, POINT + 0x40);
    settle_until(&debugger, || fake.machine().registers(0).rip == POINT + 0x41).await;
    debugger.release(VICTIM).await.expect("is still held");
    fake.then(move |machine| {
        let bytes = asleep.thread_bytes();
        machine.cpus[0][..bytes.len()].copy_from_slice(&bytes);
        machine.return_from_sleep(0, 0, VICTIM);
        0
    });
    settle_until(&debugger, || fake.machine().breakpoints.is_empty()).await;
    assert_eq!(fake.machine().registers(0).general, hit.registers.general);
    drop(debugger);
    fake.end().await;
}

#[tokio::test]
async fn a_point_where_sleep_is_illegal_is_refused_and_the_thread_goes_on() {
    let (fake, mut debugger) = attached(1, Manners::default()).await;
    debugger.watch(watch(VICTIM, OnHit::Hold)).await.expect("watches");
    fake.then(|machine| {
        machine.arrive(0, VICTIM, POINT);
        machine.preempt_count(0, 1 << 31 | 2);
        0
    });
    let Event::Illegal { tid, address, why } = event(&mut debugger).await else { panic!("not refused") };
    assert_eq!((tid, address), (VICTIM, POINT));
    assert_eq!(why, "preempt count 2: a spinlock is held or preemption is off");
    settle_until(&debugger, || fake.machine().breakpoints.is_empty()).await;
    assert_eq!(fake.machine().registers(0).rip, POINT + 1);
    drop(debugger);
    fake.end().await;
}

#[tokio::test]
async fn several_threads_are_held_at_one_point() {
    let (fake, mut debugger) = attached(2, Manners::default()).await;
    for (cpu, tid) in [(0, VICTIM), (1, OTHER)] {
        debugger.watch(watch(tid, OnHit::Hold)).await.expect("watches");
        fake.arrives(cpu, tid, POINT);
        assert!(matches!(event(&mut debugger).await, Event::Held(hit) if hit.tid == tid));
    }
    let seen = debugger.look(&[OTHER, VICTIM, 5, 77]).await.expect("looks");
    let states: Vec<_> = seen.iter().map(|seen| seen.state).collect();
    assert_eq!(states, [State::Held, State::Held, State::Runnable, State::Gone]);
    let image = seen[1].stack.as_ref().expect("a stack");
    assert_eq!((image.ip, image.base, image.sp), (POINT, stack(VICTIM) + 0x3e08, stack(VICTIM) + 0x3e08));
    assert_eq!(image.words.len(), 0x1f8 / 8);
    assert_eq!(image.word(image.base + 8), Some(0xabcd_0000 | 0x7c2));
    // A thread that does not run goes on behind what the scheduler has pushed.
    let image = seen[2].stack.as_ref().expect("a stack");
    assert_eq!((image.bp, image.ip), (0xabcd_0000 | 0x7a5, 0xabcd_0000 | 0x7a6));
    assert_eq!((image.sp, seen[2].comm.as_str()), (stack(5) + 0x3d00 + 56, "task 5"));
    // Leaving waits for both.
    let leaving = tokio::spawn(debugger.detach());
    let patience = tokio::time::Instant::now() + AMPLE;
    while !leaving.is_finished() {
        assert!(tokio::time::Instant::now() < patience, "never left");
        // Naps that end before the debugger knows that it is to leave are renewed.
        for (cpu, tid) in [(0, VICTIM), (1, OTHER)] {
            fake.then(move |machine| {
                if machine.registers(cpu).rip == fake::MSLEEP {
                    machine.return_from_sleep(cpu, cpu, tid);
                }
                cpu
            });
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    leaving.await.expect("no panic").expect("detaches");
    {
        let machine = fake.machine();
        assert!(machine.detached && machine.breakpoints.is_empty());
        assert_eq!((machine.registers(0).rip, machine.registers(1).rip), (POINT + 1, POINT + 1));
    }
    fake.end().await;
}

#[tokio::test]
async fn a_frozen_cpu_stands_while_the_others_run_and_not_for_ever() {
    let (fake, stream) = Fake::new(3, Manners::default());
    let options = Options { longest_freeze: Duration::from_millis(300), ..Options::default() };
    let mut debugger = Debugger::attach_with(stream, Arc::new(layout()), options).await.expect("attaches");
    debugger.watch(watch(VICTIM, OnHit::Freeze)).await.expect("watches");
    fake.arrives(1, VICTIM, POINT);
    let Event::Frozen(hit) = event(&mut debugger).await else { panic!("not frozen") };
    assert_eq!(hit.cpu, 1);
    settle(&debugger).await;
    assert_eq!(fake.machine().registers(1), hit.registers, "nothing of it has moved");
    settle_until(&debugger, || resumed(&fake.machine()).last() == Some(&"vCont;c:1;c:3")).await;
    assert_eq!(event(&mut debugger).await, Event::Thawed { tid: VICTIM });
    settle_until(&debugger, || resumed(&fake.machine()).last() == Some(&"vCont;c")).await;
    assert_eq!(fake.machine().registers(1).rip, POINT + 1);
    assert!(!debugger.release(VICTIM).await.expect("is free"));
    drop(debugger);
    fake.end().await;
}

#[tokio::test]
async fn what_cannot_be_done_is_said_and_the_guest_goes_on() {
    let (fake, stream) = Fake::new(1, Manners { hardware: Some(1), ..Manners::default() });
    let options = Options { preempt_count: false, ..Options::default() };
    let debugger = Debugger::attach_with(stream, Arc::new(layout()), options).await.expect("attaches");
    let error = debugger.watch(watch(VICTIM, OnHit::Hold)).await.expect_err("cannot tell where");
    assert!(matches!(error, Error::NoPreemptCount), "{error}");
    let error = debugger.watch(watch(VICTIM, OnHit::Freeze)).await.expect_err("one CPU");
    assert!(matches!(error, Error::TooFewCpus { cpus: 1 }), "{error}");
    let error = debugger.watch(watch(VICTIM, OnHit::Pass)).await.expect_err("two breakpoints");
    assert!(matches!(error, Error::Breakpoint { set: 1, .. }), "{error}");
    assert!(fake.machine().breakpoints.is_empty(), "no half of a watch stays");
    debugger.watch(Watch { addresses: vec![POINT], ..watch(VICTIM, OnHit::Pass) }).await.expect("one is there");
    assert_eq!(fake.machine().breakpoints.len(), 1);
    debugger.unwatch(VICTIM).await.expect("unwatches");
    assert!(fake.machine().breakpoints.is_empty());
    debugger.detach().await.expect("detaches");
    fake.end().await;
}

#[tokio::test]
async fn a_qemu_that_vanishes_is_lost_with_a_reason() {
    let (mut fake, mut debugger) = attached(2, Manners::default()).await;
    debugger.watch(watch(VICTIM, OnHit::Hold)).await.expect("watches");
    fake.arrives(0, VICTIM, POINT);
    assert!(matches!(event(&mut debugger).await, Event::Held(_)));
    settle(&debugger).await;
    fake.vanish();
    for _ in 0..2 {
        let Event::Lost { reason } = event(&mut debugger).await else { panic!("not lost") };
        assert!(reason.contains("QEMU closed"), "{reason}");
    }
    let error = debugger.watch(watch(OTHER, OnHit::Pass)).await.expect_err("nobody is there").to_string();
    assert!(error.contains("QEMU closed"), "{error}");
    assert!(debugger.release(VICTIM).await.is_err());
    fake.end().await;
}

#[tokio::test]
async fn thousands_of_addresses_are_set_and_removed() {
    let (fake, debugger) = attached(1, Manners::default()).await;
    let addresses: Vec<u64> = (0..3000).map(|at| POINT + at * 3).chain([POINT]).collect();
    debugger.watch(Watch { addresses, ..watch(VICTIM, OnHit::Hold) }).await.expect("watches");
    assert_eq!(fake.machine().breakpoints.len(), 3000);
    debugger.watch(watch(VICTIM, OnHit::Hold)).await.expect("replaces");
    assert_eq!(fake.machine().breakpoints.len(), 2);
    drop(debugger);
    fake.end().await;
}
