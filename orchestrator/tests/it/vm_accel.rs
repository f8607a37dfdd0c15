//! KVM is believed only after a boot, with a fake QEMU and a file that stands for `/dev/kvm`.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use twinboot::vm::accel::{Decision, Wanted, decide_on};
use twinboot::vm::{Accel, Error};

struct House {
    dir: TempDir,
}

impl House {
    /// `wishes` stand in the kernel file, where the fake QEMU finds them.
    fn new(wishes: &str) -> Self {
        let house = Self { dir: tempfile::tempdir().expect("a scratch folder") };
        house.kernel(wishes);
        std::fs::write(house.path("kvm"), "").expect("writes");
        house
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn kernel(&self, wishes: &str) {
        std::fs::write(self.path("kernel"), wishes).expect("writes");
    }

    async fn decide(&self, device: &str, wanted: Wanted) -> Result<Decision, Error> {
        let qemu = Path::new(env!("CARGO_BIN_EXE_fake-qemu"));
        let (device, kernel, cache) = (self.path(device), self.path("kernel"), self.path("cache"));
        decide_on(&device, wanted, qemu, &kernel, &cache, &CancellationToken::new()).await
    }
}

#[tokio::test]
async fn a_kvm_that_runs_a_guest_is_used() {
    let house = House::new("");
    let decision = house.decide("kvm", Wanted::Auto).await.expect("decides");
    assert_eq!(decision, Decision { accel: Accel::Kvm, notice: None, qemu_version: "7.2.99 (fake)".into() });
}

#[tokio::test]
async fn a_kvm_that_aborts_ends_in_software_emulation_with_a_notice_and_is_remembered() {
    let house = House::new("fake.kvm=abort");
    let first = house.decide("kvm", Wanted::Auto).await.expect("decides");
    assert_eq!(first.accel, Accel::Tcg);
    let notice = first.notice.clone().expect("says so");
    assert!(notice.contains("failed to set MSR 0x10a") && notice.contains("SIGABRT"), "{notice}");
    // Would be usable now, were it tried again.
    house.kernel("");
    assert_eq!(house.decide("kvm", Wanted::Auto).await.expect("decides"), first);
    // Another device node is another question.
    std::fs::write(house.path("kvm2"), "").expect("writes");
    assert_eq!(house.decide("kvm2", Wanted::Auto).await.expect("decides").accel, Accel::Kvm);
}

#[tokio::test]
async fn a_kvm_that_never_runs_its_guest_ends_in_software_emulation() {
    let house = House::new("fake.kvm=hang");
    let decision = house.decide("kvm", Wanted::Auto).await.expect("decides");
    assert_eq!(decision.accel, Accel::Tcg);
    let notice = decision.notice.expect("says so");
    assert!(notice.contains("did not introduce itself") && notice.contains("empty console"), "{notice}");
    assert!(notice.contains("nothing more within 5 s"), "{notice}");
}

#[tokio::test]
async fn kvm_by_name_is_an_error_with_hints_where_it_does_not_run() {
    let house = House::new("fake.kvm=abort");
    let error = house.decide("kvm", Wanted::Kvm).await.expect_err("not usable").to_string();
    assert!(error.contains("failed to set MSR") && error.contains("--accel tcg"), "{error}");
    let error = house.decide("no-such-device", Wanted::Kvm).await.expect_err("not there").to_string();
    assert!(error.contains("no-such-device") && error.contains("kvm_intel"), "{error}");
}

#[tokio::test]
async fn software_emulation_by_name_asks_nobody() {
    let house = House::new("fake.kvm=abort");
    let decision = house.decide("kvm", Wanted::Tcg).await.expect("decides");
    assert_eq!((decision.accel, decision.notice), (Accel::Tcg, None));
    assert!(!house.path("cache").exists());
}
