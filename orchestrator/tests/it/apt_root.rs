//! Suites that this machine's apt does not list: what twinboot asks apt for, with small programs in apt's place that note down
//! how they were called and answer as apt would.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output};

/// Says where the machine's sources are.
const APT_CONFIG: &str =
    "#!/bin/sh\necho \"LIST='$HOUSE/etc/sources.list'\"\necho \"PARTS='$HOUSE/etc/sources.list.d/'\"\n";

/// Knows one package, `linux-source-5.10`, in versions 5.10.1-1 (gone once there is a file `moved`) and 5.10.2-1.
/// `update` fails with the words in `$HOUSE/refusal`, or with those in `run-out` unless dates are not checked.
const APT_GET: &str = r#"#!/bin/sh
echo "$*" >> "$HOUSE/calls"
conf=
while [ $# -gt 0 ]; do
    case $1 in
    -c) conf=$2; shift ;;
    update) verb=update ;;
    download) verb=download ;;
    --print-uris) uris=1 ;;
    linux-source-*) wanted=$1 ;;
    esac
    shift
done
root=$(dirname "$conf")
newest=5.10.1-1
[ -e "$HOUSE/moved" ] && newest=5.10.2-1
if [ "$verb" = update ]; then
    [ -e "$HOUSE/refusal" ] && { cat "$HOUSE/refusal" >&2; exit 100; }
    if [ -e "$HOUSE/run-out" ] && ! grep -q 'Check-Valid-Until: no' "$root/sources.list.d/twinboot.sources"; then
        cat "$HOUSE/run-out" >&2; exit 100
    fi
    echo "$newest" > "$root/lists/known"
    exit 0
fi
known=$newest
[ -n "$conf" ] && known=$(cat "$root/lists/known")
case $wanted in
*=*) version=${wanted#*=} ;;
*) version=$known ;;
esac
case $version in
"$known") ;;
*) echo "E: Version '$version' for 'linux-source-5.10' was not found" >&2; exit 100 ;;
esac
file=linux-source-5.10_${version}_all.deb
sum=$(printf %s "$version" | sha256sum | cut -d' ' -f1)
[ -n "$uris" ] && echo "'http://host/$file' $file 8 SHA256:$sum"
exit 0
"#;

struct House(tempfile::TempDir);

impl House {
    fn new(sources: &str) -> Self {
        let house = Self(tempfile::tempdir().expect("a scratch folder"));
        for folder in ["bin", "etc/sources.list.d", "data/kernels/config", "data/images", "cache"] {
            fs::create_dir_all(house.path(folder)).expect("makes folders");
        }
        for (name, text) in [("apt-get", APT_GET), ("apt-config", APT_CONFIG)] {
            let path = house.path("bin").join(name);
            fs::write(&path, text).expect("writes");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("is ours");
        }
        house.write("etc/sources.list.d/debian.sources", sources);
        house.write("data/kernels/config/base.config", "CONFIG_SWAP=y\n");
        house.write("data/images/default.yaml", "");
        house.write(
            "data/p.yaml",
            "name: p\nkernels: [{name: old, source: {debian: {package: linux-source-5.10, suite: bullseye-security}}, config: [base]}]\n\
             variants: [{name: v, expect: corrupt}]\ntests: [{name: t, run: r}]\n",
        );
        house
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("writes");
    }

    fn lock(&self, further: &[&str]) -> Output {
        let system = std::env::var("PATH").unwrap_or_default();
        Command::new(env!("CARGO_BIN_EXE_twinboot"))
            .env_clear()
            .env("PATH", format!("{}:{system}", self.path("bin").display()))
            .env("HOUSE", self.0.path())
            // Answers are then not kept by what the real machine's apt looks like.
            .env("APT_CONFIG", "/dev/null")
            .arg("--cache-dir")
            .arg(self.path("cache"))
            .args(["plan", "lock"])
            .args(further)
            .arg(self.path("data/p.yaml"))
            .output()
            .expect("starts")
    }

    /// What a lock that fails says.
    fn refusal(&self) -> String {
        let output = self.lock(&[]);
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.path("calls")).unwrap_or_default()
    }

    /// The one private root.
    fn root(&self) -> PathBuf {
        let mut roots = fs::read_dir(self.path("cache/apt-roots")).expect("there are some").flatten();
        let root = roots.next().expect("there is one").path();
        assert!(roots.next().is_none());
        root
    }
}

const MACHINE: &str = "Types: deb\nURIs: http://host/debian\nSuites: bookworm\nComponents: main\nSigned-By: /keys/debian.gpg\n\n\
                       Types: deb\nURIs: http://host/debian-security\nSuites: bookworm-security\nComponents: main\nSigned-By: /keys/debian.gpg\nTrusted: yes\n";

#[test]
fn a_suite_that_is_not_listed_gets_a_root_of_its_own() {
    let house = House::new(MACHINE);
    let before = fs::read_to_string(house.path("etc/sources.list.d/debian.sources")).expect("reads");
    let done = house.lock(&[]);
    assert!(done.status.success(), "{done:?}");
    let told = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(told.contains("old: linux-source-5.10 5.10.1-1"), "{told}");
    assert!(
        String::from_utf8_lossy(&done.stderr)
            .contains("fetching the package lists of bullseye-security from http://host/debian-security")
    );

    let sources = fs::read_to_string(house.root().join("sources.list.d/twinboot.sources")).expect("reads");
    assert_eq!(
        sources,
        "Types: deb\nURIs: http://host/debian-security\nSuites: bullseye-security\nComponents: main\nTargets: Packages\nSigned-By: /keys/debian.gpg\n\n"
    );
    let settings = fs::read_to_string(house.root().join("apt.conf")).expect("reads");
    for secure in [
        "Acquire::AllowInsecureRepositories \"false\"",
        "APT::Get::AllowUnauthenticated \"false\"",
        "Dir::Etc::sourcelist \"/dev/null\"",
    ] {
        assert!(settings.contains(secure), "{settings}");
    }
    let calls = house.calls();
    assert!(calls.lines().all(|call| call.contains("apt-roots/")), "the machine's own apt is not asked: {calls}");
    assert!(!calls.contains("nauthenticated") && !calls.contains("nsecure"), "{calls}");
    assert_eq!(fs::read_to_string(house.path("etc/sources.list.d/debian.sources")).expect("reads"), before);

    // The lists are there now: asked again, nothing is fetched.
    fs::remove_file(house.path("data/p.lock.yaml")).expect("is there");
    house.write("calls", "");
    assert!(house.lock(&[]).status.success());
    assert!(!house.calls().contains("update"), "{}", house.calls());
}

#[test]
fn a_suite_that_is_listed_is_left_to_the_machine() {
    let house = House::new(&MACHINE.replace("bookworm-security", "bookworm-security bullseye-security"));
    assert!(house.lock(&[]).status.success());
    assert!(!house.path("cache/apt-roots").exists());
    assert!(
        house.calls().contains("--target-release=bullseye-security linux-source-5.10/bullseye-security"),
        "{}",
        house.calls()
    );
}

#[test]
fn without_a_security_archive_the_plain_suite_is_taken_and_told() {
    let house = House::new("Types: deb\nURIs: http://host/debian\nSuites: bookworm\nComponents: main\n");
    let done = house.lock(&[]);
    assert!(done.status.success(), "{done:?}");
    assert!(
        String::from_utf8_lossy(&done.stderr).contains("bullseye is asked instead of bullseye-security"),
        "{done:?}"
    );
    assert!(house.calls().contains("linux-source-5.10/bullseye\n"), "{}", house.calls());
}

#[test]
fn refusals_name_the_suite_the_mirror_and_what_to_do() {
    let house = House::new(MACHINE);
    house.write(
        "refusal",
        "E: The repository 'http://host/debian-security bullseye-security Release' does not have a Release file.\n",
    );
    let told = house.refusal();
    assert!(
        told.contains("bullseye-security from http://host/debian-security") && told.contains("does not have the suite"),
        "{told}"
    );
    house.write("refusal", "W: GPG error: http://host NO_PUBKEY 0123\n");
    let told = house.refusal();
    assert!(told.contains("debian-archive-keyring") && told.contains("nothing unsigned"), "{told}");
    assert!(!house.path("data/p.lock.yaml").exists());
    let none = House::new("Types: deb\nURIs: http://host/ubuntu\nSuites: jammy\nComponents: main\n");
    assert!(none.refusal().contains("no Debian mirror"));
}

#[test]
fn a_closed_suite_may_have_run_out_and_another_may_not() {
    let house = House::new(MACHINE);
    house.write(
        "run-out",
        "E: Release file for http://host/x is expired (invalid since 100d 2h). Updates will not be applied.\n",
    );
    let done = house.lock(&[]);
    assert!(done.status.success(), "{done:?}");
    assert!(String::from_utf8_lossy(&done.stderr).contains("bullseye-security is closed"), "{done:?}");

    let house = House::new(MACHINE);
    let plan = fs::read_to_string(house.path("data/p.yaml")).expect("reads");
    house.write("data/p.yaml", &plan.replace("bullseye-security", "trixie-security"));
    house.write(
        "run-out",
        "E: Release file for http://host/x is expired (invalid since 100d 2h). Updates will not be applied.\n",
    );
    assert!(house.refusal().contains("has run out"));
}

#[test]
fn a_locked_version_that_the_mirror_gave_up_is_refused_and_an_update_takes_the_next() {
    let house = House::new(MACHINE);
    assert!(house.lock(&[]).status.success());
    house.write("moved", "");
    // The lists of before still name it; the mirror has moved on, which new lists tell.
    fs::write(house.root().join("lists/known"), "5.10.2-1\n").expect("writes");
    let told = house.refusal();
    assert!(told.contains("5.10.1-1") && told.contains("plan lock --update"), "{told}");
    let done = house.lock(&["--update"]);
    let out = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success() && out.contains("5.10.2-1 (was 5.10.1-1)"), "{done:?}");
}
