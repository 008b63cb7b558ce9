#![no_main]

use dispers_tests::decoders::Target;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    Target::named("aggregation").expect("it is a target").run(input);
});
