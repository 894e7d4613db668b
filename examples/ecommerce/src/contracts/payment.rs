//! The events of the payment service.

use sagas::event;
use serde::{Deserialize, Serialize};

use super::{Money, OrderId, PaymentId};

super::words! {
    /// How a customer pays.
    PaymentMethod {
        /// By credit card. The default of an order that names no method.
        CreditCard = "CREDIT_CARD",
        /// By debit card.
        DebitCard = "DEBIT_CARD",
        /// Through PayPal.
        Paypal = "PAYPAL",
        /// By bank transfer.
        BankTransfer = "BANK_TRANSFER",
        /// From a digital wallet.
        DigitalWallet = "DIGITAL_WALLET",
    }
}

super::words! {
    /// The status of a payment.
    PaymentStatus {
        /// The payment waits until the gateway can be called.
        Pending = "PENDING",
        /// The gateway is being called.
        Processing = "PROCESSING",
        /// The customer was charged.
        Completed = "COMPLETED",
        /// The gateway declined.
        Failed = "FAILED",
        /// The customer was charged and then refunded.
        Refunded = "REFUNDED",
    }
}

/// The customer was charged.
#[event(topic = "payments", key = order_id)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentProcessed {
    /// The order.
    pub order_id: OrderId,
    /// The payment.
    pub payment_id: PaymentId,
    /// The amount that was charged.
    pub amount: Money,
    /// The payment method.
    pub payment_method: PaymentMethod,
}

/// The gateway declined; the customer was not charged.
#[event(topic = "payments", key = order_id)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentFailed {
    /// The order.
    pub order_id: OrderId,
    /// The payment.
    pub payment_id: PaymentId,
    /// The amount that should have been charged.
    pub amount: Money,
    /// Why the gateway declined.
    pub reason: String,
}

/// A charge was refunded.
#[event(topic = "payments", key = order_id)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRefunded {
    /// The order.
    pub order_id: OrderId,
    /// The payment.
    pub payment_id: PaymentId,
    /// The amount that was refunded.
    pub amount: Money,
}
