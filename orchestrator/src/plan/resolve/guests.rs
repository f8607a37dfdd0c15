//! The guest as the plan describes it, before the matrix varies it.

use super::Context;
use crate::plan::model::{Guest, Swap};
use crate::plan::schema::{self, SwapDevice, SwapSetting};
use crate::plan::validate;
use crate::plan::yaml::KeyPath;

pub(super) fn resolve(context: Context, raw: &schema::Guest) -> Guest {
    let path = KeyPath::keys(&["guest"]);
    context.check(&path.key("cpus"), validate::cpus(raw.cpus));
    context.check(&path.key("memory"), validate::memory(raw.memory.0));
    context.check(&path.key("cmdline"), validate::line(&raw.cmdline));
    let sysctl = context.scalars(&path.key("sysctl"), &raw.sysctl);
    for key in sysctl.keys() {
        context.check(&path.key("sysctl").key(key), validate::word(key, "sysctl"));
    }
    Guest {
        name: "default".to_owned(),
        cpus: raw.cpus,
        memory: raw.memory.0,
        swap: match &raw.swap {
            SwapSetting::None => None,
            SwapSetting::Device(device) => swap(context, &path.key("swap"), device),
        },
        sysctl,
        cmdline: raw.cmdline.clone(),
        image: context.recipe(&path.key("image"), &raw.image),
        clone: raw.clone,
    }
}

fn swap(context: Context, path: &KeyPath, raw: &SwapDevice) -> Option<Swap> {
    let size = |device: &str, size: Option<schema::Size>| {
        let path = path.key(device);
        match size {
            Some(size) => context.check(&path.key("size"), validate::swap_size(size.0)),
            None => context.document.missing(&path, "size", Some("such as `size: 64K`".to_owned())),
        }
        size.map_or(0, |size| size.0)
    };
    let zram = raw.zram.as_ref().map(|zram| {
        context.check(&path.key("zram").key("algorithm"), validate::algorithm(&zram.algorithm));
        Swap::Zram { size: size("zram", zram.size), algorithm: zram.algorithm.clone() }
    });
    let brd = raw.brd.as_ref().map(|brd| Swap::Brd { size: size("brd", brd.size) });
    if zram.is_some() && brd.is_some() {
        context.document.error(path, "found zram and brd, expected one swap device", None);
    }
    if zram.is_none() && brd.is_none() && !context.document.damaged(path) {
        let hint = "give it `zram: {size: 64K}` or `brd: {size: 64K}`, or write `swap: none`";
        context.document.error(path, "found no swap device, expected one", Some(hint.to_owned()));
    }
    zram.or(brd)
}
