use super::*;

/// A pair on one CPU of this machine, whose interference raises the flag; none where real-time threads are not allowed.
fn pair() -> Option<(Duel, Arc<AtomicBool>)> {
    let cpu = *sched::allowed_cpus().expect("the set").last().expect("at least one CPU");
    let raised = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&raised);
    sched::pin(cpu).expect("an allowed CPU");
    let interference = Box::new(move || {
        flag.store(true, Release);
        true
    });
    Some((Duel::start(Post { cpu, priority: 1 }, interference).ok()?, raised))
}

fn at(delay: u64, start: u64) -> Point {
    Point { delay, start }
}

#[test]
fn it_comes_inside_an_operation_that_lasts_until_then() {
    let Some((duel, raised)) = pair() else { return };
    for _ in 0..3 {
        raised.store(false, Relaxed);
        let mut victim = || {
            while !raised.load(Acquire) {
                std::hint::spin_loop();
            }
        };
        let sample = duel.bout(Some(at(20_000_000, 0)), |_| Ok(()), &mut victim).expect("an interferer");
        assert_eq!((sample.timing, sample.landed), (Timing::Inside, true));
    }
    let counts: Vec<_> = duel.profile().iter().map(|part| (part.name.clone(), part.count)).collect();
    assert!(counts.contains(&("interference".to_owned(), 3)), "{counts:?}");
}

#[test]
fn it_comes_after_a_short_operation_and_before_one_that_is_held_back() {
    let Some((duel, raised)) = pair() else { return };
    let late = duel.bout(Some(at(200_000_000, 0)), |_| Ok(()), &mut || {}).expect("an interferer");
    let early = duel.bout(Some(at(0, 200_000_000)), |_| Ok(()), &mut || {}).expect("an interferer");
    assert_eq!((late.timing, early.timing), (Timing::Late, Timing::Early));
    assert!(late.ran && !early.ran);
    assert!(early.lead < 200_000_000, "the wait is no part of the lead: {early:?}");
    assert!(!raised.load(Acquire), "it interfered outside of the operation");
}

#[test]
fn it_stays_away_from_an_undisturbed_try_and_comes_to_the_next() {
    let Some((duel, raised)) = pair() else { return };
    let sample = duel.bout(None, |_| Ok(()), &mut || {}).expect("an interferer");
    assert_eq!((sample.timing, sample.landed), (Timing::Calibration, false));
    let sample = duel.bout(Some(at(0, 100_000_000)), |_| Ok(()), &mut || {}).expect("an interferer");
    assert_eq!(sample.timing, Timing::Early);
    assert!(!raised.load(Acquire));
}
