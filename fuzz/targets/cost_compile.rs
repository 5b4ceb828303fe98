//! SecLang and compiling it cost linear time on texts of 1 MiB: see `breakwater_fuzz::cost`.
#![no_main]

use breakwater_fuzz::cost;
use breakwater_fuzz::kinds::Kind;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| cost::check(Kind::Compile, data));
