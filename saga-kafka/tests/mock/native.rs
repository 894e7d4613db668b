//! What of the mock can only be set through the C interface.

use rdkafka::{
    bindings::{
        rd_kafka_handle_mock_cluster, rd_kafka_mock_group_initial_rebalance_delay_ms,
        rd_kafka_mock_set_group_consumer_heartbeat_interval_ms,
    },
    consumer::{BaseConsumer, Consumer as _},
};

/// Lets groups form at once, and members of the newer protocol hear of changes every 50 ms. The default of both is 3 s.
pub(crate) fn hurry(client: &BaseConsumer) {
    // SAFETY: the client is alive, and the mock, of which the client is the owner, with it.
    unsafe {
        let mock = rd_kafka_handle_mock_cluster(client.client().native_ptr());
        assert!(!mock.is_null(), "the client has a mock");
        rd_kafka_mock_group_initial_rebalance_delay_ms(mock, 0);
        rd_kafka_mock_set_group_consumer_heartbeat_interval_ms(mock, 50);
    }
}
