//! Whole images, unpacked by the real cpio: what the guest gets, and what the user is told when it cannot be had.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tokio_util::sync::CancellationToken;
use twinboot::build::initramfs::{
    AUTHORIZED_KEYS_PATH, Error, HOST_KEY_PATH, Image, Keys, ProgramRef, Recipe, build, seal,
};
use twinboot::cache::Cache;
use twinboot_protocol::{GUEST_CONFIG_PATH, GuestConfig, VERSION};

/// A folder with a recipe, guest programs and a cache of its own.
struct Workshop {
    dir: tempfile::TempDir,
}

impl Workshop {
    fn new() -> Self {
        let shop = Self { dir: tempfile::tempdir().expect("a scratch folder") };
        shop.program("guest/twinboot-init", "#!/bin/sh\nexit 0\n");
        // A stand-in keeps the test independent of what the machine has installed.
        shop.program("busybox", "#!/bin/sh\nprintf '%s\\n' bin/busybox bin/sh usr/bin/env sbin/init sbin/poweroff\n");
        shop
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("in the folder")).expect("makes it");
        std::fs::write(&path, content).expect("writes");
        path
    }

    /// An executable. The shell writes it, as a descriptor of ours that a child of another test inherits would make
    /// running it fail (ETXTBSY).
    fn program(&self, name: &str, content: &str) -> PathBuf {
        let text = self.file(&format!("{name}.text"), content);
        let path = self.path(name);
        let script = format!("cat {} > {1} && chmod 755 {1}", text.display(), path.display());
        assert!(Command::new("sh").arg("-c").arg(script).status().expect("sh starts").success());
        path
    }

    async fn build(&self, recipe: &str, programs: &[&str]) -> Result<Image, Error> {
        self.build_in("cache", recipe, programs).await
    }

    async fn build_in(&self, cache: &str, recipe: &str, programs: &[&str]) -> Result<Image, Error> {
        let recipe = self.file("recipe.yaml", recipe);
        let cache = Cache::open(Some(&self.path(cache))).expect("opens");
        let programs: Vec<String> = programs.iter().map(|&name| name.to_owned()).collect();
        build(&recipe, &programs, &[], &[self.path("guest"), self.path("more")], &cache, &CancellationToken::new())
            .await
    }

    async fn refusal(&self, recipe: &str, programs: &[&str]) -> String {
        let error = self.build(recipe, programs).await.expect_err("is refused");
        let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
        format!("{error}{}", source.unwrap_or_default())
    }

    /// What the real cpio lists: type and permissions by path.
    fn listing(archive: &Path) -> BTreeMap<String, String> {
        let input = std::fs::File::open(archive).expect("is there");
        let output = Command::new("cpio").args(["-tv", "--quiet"]).stdin(Stdio::from(input)).output();
        let text = String::from_utf8(output.expect("cpio is installed").stdout).expect("text");
        text.lines()
            .map(|line| {
                let mut words = line.split_whitespace();
                let mode = words.next().expect("a mode").to_owned();
                let name = line.rsplit_once("1970 ").expect("no time but the first").1;
                (name.split(" -> ").next().expect("a name").to_owned(), mode)
            })
            .collect()
    }
}

const PLAIN: &str = "init: twinboot-init\nbusybox: ./busybox\n";

#[tokio::test]
async fn two_builds_are_identical_and_the_second_is_cached() {
    let shop = Workshop::new();
    let first = shop.build(PLAIN, &[]).await.expect("builds");
    let made = std::fs::metadata(&first.path).expect("is there").modified().expect("a time");
    let again = shop.build(PLAIN, &[]).await.expect("builds");
    assert_eq!(first, again);
    assert_eq!(std::fs::metadata(&again.path).expect("is there").modified().expect("a time"), made);
    assert_eq!(first.bytes, std::fs::metadata(&first.path).expect("is there").len());

    let elsewhere = shop.build_in("another-cache", PLAIN, &[]).await.expect("builds");
    assert_ne!(elsewhere.path, first.path);
    assert_eq!(std::fs::read(&elsewhere.path).expect("reads"), std::fs::read(&first.path).expect("reads"));
}

#[tokio::test]
async fn a_changed_guest_program_is_another_image() {
    let shop = Workshop::new();
    shop.program("guest/swap-race", "#!/bin/sh\necho one\n");
    let one = shop.build(PLAIN, &["swap-race"]).await.expect("builds");
    shop.program("guest/swap-race", "#!/bin/sh\necho two\n");
    let two = shop.build(PLAIN, &["swap-race"]).await.expect("builds");
    assert_ne!(one.key, two.key);
    let listed = Workshop::listing(&two.path);
    assert_eq!(listed["usr/local/bin/swap-race"], "-rwxr-xr-x");
}

#[tokio::test]
async fn the_guest_finds_its_places_its_console_and_its_applets() {
    let shop = Workshop::new();
    let image = shop.build(PLAIN, &[]).await.expect("builds");
    let listed = Workshop::listing(&image.path);
    for (path, mode) in [
        ("init", "-rwxr-xr-x"),
        ("dev/console", "crw-------"),
        ("proc", "dr-xr-xr-x"),
        ("tmp", "drwxrwxrwt"),
        ("root/.ssh", "drwx------"),
        ("etc/passwd", "-rw-r--r--"),
        ("etc/shells", "-rw-r--r--"),
        ("bin/busybox", "-rwxr-xr-x"),
        ("bin/sh", "lrwxrwxrwx"),
        ("sbin/poweroff", "lrwxrwxrwx"),
    ] {
        assert_eq!(listed.get(path).map(String::as_str), Some(mode), "{path}");
    }
    assert!(!listed.contains_key("sbin/init"), "an applet must not pass for process 1");
}

#[tokio::test]
async fn programs_of_the_host_come_with_their_libraries() {
    let shop = Workshop::new();
    let me = std::env::current_exe().expect("this test");
    let recipe = format!("{PLAIN}programs: [\"{}\"]\n", me.display());
    let listed = Workshop::listing(&shop.build(&recipe, &[]).await.expect("builds").path);
    let name = me.file_name().expect("a name").to_string_lossy();
    assert!(listed.contains_key(&format!("usr/bin/{name}")));
    assert!(listed.keys().any(|path| path.contains("/libc.")), "{listed:?}");
    assert!(listed.keys().any(|path| path.rsplit('/').next().is_some_and(|file| file.starts_with("ld-"))));
}

#[tokio::test]
async fn files_folders_and_texts_land_where_the_recipe_says() {
    let shop = Workshop::new();
    shop.file("overlay/etc/motd", "hello\n");
    shop.program("overlay/usr/local/bin/greet", "#!/usr/bin/env -S sh -e\necho hello\n");
    std::fs::remove_file(shop.path("overlay/usr/local/bin/greet.text")).expect("only the program");
    std::os::unix::fs::symlink("motd", shop.path("overlay/etc/issue")).expect("links");
    let recipe = format!(
        "{PLAIN}files:\n  - {{from: overlay, to: /}}\n  - {{to: /etc/secret, content: x, mode: \"0600\"}}\n\
         directories: [{{to: /srv, mode: \"0711\"}}, {{to: /root, mode: \"0750\"}}]\n"
    );
    let image = shop.build(&recipe, &["greet"]).await.expect("builds");
    let listed = Workshop::listing(&image.path);
    for (path, mode) in [
        ("etc/motd", "-rw-r--r--"),
        ("etc/issue", "lrwxrwxrwx"),
        ("etc/secret", "-rw-------"),
        ("usr/local/bin/greet", "-rwxr-xr-x"),
        ("srv", "drwx--x--x"),
        ("root", "drwxr-x---"),
    ] {
        assert_eq!(listed.get(path).map(String::as_str), Some(mode), "{path}");
    }
}

#[tokio::test]
async fn a_test_that_the_image_holds_already_is_linked_to_where_tests_are_run_from() {
    let shop = Workshop::new();
    let image = shop.build(PLAIN, &["poweroff"]).await.expect("builds");
    assert_eq!(Workshop::listing(&image.path)["usr/local/bin/poweroff"], "lrwxrwxrwx");
}

#[tokio::test]
async fn what_cannot_be_had_is_named_with_what_to_do() {
    let shop = Workshop::new();
    shop.program("guest/swap-race", "#!/bin/sh\n");
    shop.program("guest/under-nothing", "#!/opt/no/interpreter\n");
    shop.file("guest/data", "not executable");
    shop.program("noise", "neither ELF nor script\n");
    shop.program("broken", "#!/bin/sh\necho no such option >&2\nexit 3\n");

    let message = shop.refusal(PLAIN, &["swap-rice"]).await;
    for part in ["`swap-rice`", "guest`", "more`", "swap-race, twinboot-init, under-nothing"] {
        assert!(message.contains(part), "{part} in {message}");
    }
    assert!(!message.contains("data"), "{message}");
    for (recipe, programs, parts) in [
        ("init: other-init\n", &[][..], &["`other-init`", "twinboot-init"][..]),
        ("init: twinboot-init\nssh: ./no-dropbear\n", &[], &["no-dropbear", "No such file"]),
        ("init: twinboot-init\nbusybox: ./broken\n", &[], &["--list-full", "exit status 3", "no such option"]),
        ("init: ./noise\n", &[], &["noise", "neither an ELF file nor a script"]),
        (PLAIN, &["under-nothing"], &["under-nothing", "`/opt/no/interpreter`"]),
        (PLAIN, &["../guest/swap-race"], &["../guest/swap-race"]),
        ("init: twinboot-init\nprograms: [no-such-program-anywhere]\n", &[], &["no-such-program-anywhere", "install"]),
        ("init: twinboot-init\nfiles: [{from: nothing, to: /a}]\n", &[], &["nothing", "No such file"]),
        ("init: twinboot-init\nfiles: [{content: x, to: /a/../b}]\n", &[], &["/a/../b", "`..`"]),
        ("init: twinboot-init\nfiles: [{content: x, to: /a}, {content: y, to: /a}]\n", &[], &["`/a`", "two different"]),
        ("init: twinboot-init\nfiles: [{content: x, to: /init}]\n", &[], &["`/init`", "two different"]),
        (
            "init: twinboot-init\nfiles: [{content: x, to: /a}, {content: y, to: /a/b}]\n",
            &[],
            &["`/a`", "not a directory"],
        ),
    ] {
        let message = shop.refusal(recipe, programs).await;
        for part in parts {
            assert!(message.contains(part), "{part} in {message}");
        }
    }
}

#[tokio::test]
async fn a_sealed_image_unpacks_to_private_files_over_the_shared_ones() {
    let shop = Workshop::new();
    let image = shop.build(PLAIN, &[]).await.expect("builds");
    let keys = Keys::generate().expect("random bytes");
    let config = GuestConfig { protocol: VERSION, swap: None, sysctl: vec![], seed: 42, pause: false };
    let out = shop.path("sealed.cpio");
    seal(&image, &config, &keys, &out).expect("seals");
    assert_eq!(std::fs::metadata(&out).expect("is there").permissions().mode() & 0o777, 0o600);

    let sealed = std::fs::read(&out).expect("reads");
    let shared = usize::try_from(image.bytes).expect("small");
    assert_eq!(sealed[..shared], std::fs::read(&image.path).expect("reads"));
    assert_eq!(shared % 4, 0, "the kernel looks for the next archive at multiples of four");
    let own = shop.path("own.cpio");
    std::fs::write(&own, &sealed[shared..]).expect("writes");
    let root = shop.path("root");
    std::fs::create_dir(&root).expect("makes it");
    let input = std::fs::File::open(&own).expect("is there");
    let done = Command::new("cpio").args(["-i", "--quiet", "-m"]).current_dir(&root).stdin(Stdio::from(input)).status();
    assert!(done.expect("cpio is installed").success());

    let at = |path: &str| root.join(path.trim_start_matches('/'));
    let mode = |path: &str| std::fs::metadata(at(path)).expect("is there").permissions().mode() & 0o7777;
    for (path, expected) in [
        (GUEST_CONFIG_PATH, 0o600),
        (HOST_KEY_PATH, 0o600),
        (AUTHORIZED_KEYS_PATH, 0o600),
        ("/root", 0o700),
        ("/root/.ssh", 0o700),
        ("/etc/dropbear", 0o700),
    ] {
        assert_eq!(mode(path), expected, "{path}");
    }
    let text = std::fs::read_to_string(at(GUEST_CONFIG_PATH)).expect("reads");
    assert_eq!(serde_json::from_str::<GuestConfig>(&text).expect("reads back"), config);
    let line = std::fs::read_to_string(at(AUTHORIZED_KEYS_PATH)).expect("reads");
    assert_eq!(line, format!("{}\n", keys.user_authorized_line().expect("a pair")));
}

#[tokio::test]
async fn a_damaged_image_is_not_sealed() {
    let shop = Workshop::new();
    let image = shop.build(PLAIN, &[]).await.expect("builds");
    std::fs::write(&image.path, "cut short").expect("writes");
    let config = GuestConfig { protocol: VERSION, swap: None, sysctl: vec![], seed: 42, pause: false };
    let out = shop.path("sealed.cpio");
    let refused = seal(&image, &config, &Keys::generate().expect("random bytes"), &out);
    assert!(matches!(refused, Err(Error::Damaged { found: 9, .. })), "{refused:?}");
    assert!(!out.exists());
}

#[test]
fn the_default_recipe_is_a_recipe() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../images/default.yaml");
    let recipe = Recipe::load(&file).expect("it is checked in");
    assert_eq!(recipe.init, ProgramRef::Named("twinboot-init".to_owned()));
    assert!(recipe.busybox.is_some() && recipe.ssh.is_some());
}
