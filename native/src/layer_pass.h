// A pass in layer order as JavaScript has it: NativeLayerPass of extension/core/native.ts.
#pragma once

#include <napi.h>

#include <memory>
#include <utility>

#include "open_model.h"

namespace lq {

// A pass in layer order with the model that feeds it. A call under way outlives close().
struct OpenPass {
  explicit OpenPass(std::shared_ptr<OpenModel> m) : model(std::move(m)) {}
  ~OpenPass() {
    if (pass != nullptr) pass->destroy();
  }
  OpenPass(const OpenPass&) = delete;
  OpenPass& operator=(const OpenPass&) = delete;

  std::shared_ptr<OpenModel> model;
  LayerPass* pass = nullptr;
};

Napi::Value run_moments(const std::shared_ptr<OpenPass>& open, const Napi::CallbackInfo& info);
Napi::Value run_replace(const std::shared_ptr<OpenPass>& open, const Napi::CallbackInfo& info);
Napi::Value run_advance(const std::shared_ptr<OpenPass>& open, const Napi::CallbackInfo& info);

}  // namespace lq
