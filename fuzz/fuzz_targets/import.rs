#![no_main]
//! A damaged document is refused, or makes an engine whose invariants hold, that works, and whose own export is taken.

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;

#[path = "../../tests/suite/damage.rs"]
mod damage;

static SOUND: LazyLock<(Value, Vec<String>)> = LazyLock::new(|| {
    let sound = damage::document();
    let places = damage::places(&sound);
    (sound, places)
});

fuzz_target!(|edits: Vec<(u16, u16, &str)>| {
    let (sound, places) = &*SOUND;
    let mut document = sound.clone();
    for (place, other, text) in edits.into_iter().take(4) {
        let value = match serde_json::from_str(text) {
            Ok(value) => value,
            // No JSON: what stands at another place.
            Err(_) => {
                let other = sound.pointer(&places[usize::from(other) % places.len()]);
                other.cloned().unwrap_or_default()
            }
        };
        if let Some(here) = document.pointer_mut(&places[usize::from(place) % places.len()]) {
            *here = value;
        }
    }
    damage::survives(document);
});
