// The entries of the addon, one function a method of NativeModule (extension/core/native.ts). Each has three phases:
// arguments to plain values, work on a thread without JavaScript, plain values to results.
#pragma once

#include <napi.h>

#include "devices.h"
#include "task.h"

namespace lq {

// The device named by the argument; throws when there is none.
Device& device_argument(const Napi::Value& value);

// file_ops.cc
Napi::Value hash_op(const Napi::CallbackInfo& info);
Napi::Value copy_op(const Napi::CallbackInfo& info);
Napi::Value exchange_op(const Napi::CallbackInfo& info);
Napi::Value weighted_sum_op(const Napi::CallbackInfo& info);
// matrix_ops.cc
Napi::Value statistics_op(const Napi::CallbackInfo& info);
Napi::Value preview_op(const Napi::CallbackInfo& info);
Napi::Value difference_op(const Napi::CallbackInfo& info);
Napi::Value singular_values_op(const Napi::CallbackInfo& info);
// lq_ops.cc
Napi::Value sweep_op(const Napi::CallbackInfo& info);
Napi::Value decompose_op(const Napi::CallbackInfo& info);
Napi::Value reconstruct_op(const Napi::CallbackInfo& info);
// encode_ops.cc
Napi::Value encode_costs_op(const Napi::CallbackInfo& info);
Napi::Value encode_op(const Napi::CallbackInfo& info);
// gguf_ops.cc
Napi::Value convert_op(const Napi::CallbackInfo& info);
Napi::Value order_rows_op(const Napi::CallbackInfo& info);
// array_ops.cc
Napi::Object make_array_ops(Napi::Env env);

}  // namespace lq
