//! What the payment service says.

use sagas::event;
use serde::{Deserialize, Serialize};

use super::{Money, OrderId, PaymentId};

super::words! {
    /// How a customer pays.
    PaymentMethod {
        /// By credit card, which is what an order without a word about it means.
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
    /// How far a payment is.
    PaymentStatus {
        /// Waits until the gateway can be called.
        Pending = "PENDING",
        /// The gateway is being called.
        Processing = "PROCESSING",
        /// The money was taken.
        Completed = "COMPLETED",
        /// The gateway declined.
        Failed = "FAILED",
        /// The money was taken and given back.
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
    /// What was taken.
    pub amount: Money,
    /// How.
    pub payment_method: PaymentMethod,
}

/// The gateway declined; nothing was taken.
#[event(topic = "payments", key = order_id)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentFailed {
    /// The order.
    pub order_id: OrderId,
    /// The payment.
    pub payment_id: PaymentId,
    /// What was to be taken.
    pub amount: Money,
    /// Why it was not.
    pub reason: String,
}

/// A charge was given back.
#[event(topic = "payments", key = order_id)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRefunded {
    /// The order.
    pub order_id: OrderId,
    /// The payment.
    pub payment_id: PaymentId,
    /// What was given back.
    pub amount: Money,
}
