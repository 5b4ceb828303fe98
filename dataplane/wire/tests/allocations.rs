//! What is read of every request costs no allocation.

use allocation_counter::measure;
use breakwater_wire::device::{Classes, Device};

#[test]
fn the_class_of_a_device_costs_no_allocation() {
    let classes = Classes {
        mobile: true,
        tablet: true,
        bot: true,
    };
    let user_agent =
        b"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5_1 like Mac OS X) Version/17.5 Mobile/15E148 Safari/604.1";
    let mut class = Device::Desktop;
    let allocations = measure(|| class = classes.of(Some(user_agent), Some(b"?0")));
    assert_eq!((class, allocations.count_total), (Device::Mobile, 0));
    assert!(measure(|| drop(user_agent.to_vec())).count_total > 0, "it counts");
}
