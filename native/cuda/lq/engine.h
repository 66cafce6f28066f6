// The LQ iteration of many options of one matrix at once.
//
// A slot is room for one option at work. All live slots go through an iteration together: factorise the residual (a
// step of subspace iteration from the last one), absmax of W - L1 L2, scales, codes and the error. A slot whose option
// stops is given the next one.
//
// Options that differ in the type of the group maxima alone form a family: the iteration is run from the start with
// fp32 maxima, and a 16-bit type, which only rounds them, goes on from its best iterate. A family's run does not depend
// on which of its members were asked for, and no option's on what else is live: sums are cut into the same parts
// always.
#pragma once

#include <functional>
#include <vector>

#include "lq/problem.h"

namespace lq::cuda {

// Bytes of device memory: what is worth waiting for, and what would be used to the full.
struct MemoryNeed {
  int64_t least, wanted;
};

class Engine {
 public:
  // What a matrix with its DeviceProblem takes under options of one rank.
  static MemoryNeed need(const LqProblem& problem, const std::vector<SweepOption>& options);

  // All options have the same rank. `memory`: bytes for the engine and the matrix together, which set how many options
  // are at work at once. Throws device_memory when not even one fits.
  Engine(const Stream& stream, const DeviceProblem& matrix, const LqProblem& problem,
         const std::vector<SweepOption>& options, int64_t memory);

  // Costs of every option into out[i]; `finished` is called as options finish, with how many have.
  void sweep(std::vector<SweepCost>* out, const Watch& watch, const std::function<void(int)>& finished);

  // The first option alone, with everything of its best iterate.
  void decompose(LqResult* out, const Watch& watch);

 private:
  struct Family {
    int lead;                  // index of the option with fp32 maxima, asked for or not
    std::vector<int> members;  // indices of the options asked for, without the lead
  };
  // What a slot is doing.
  struct Run {
    const Family* family = nullptr;
    int option = -1;
    size_t next_member = 0;
    SweepCost lead{};
  };
  enum class Start { nothing, first_factors, best_factors };

  static int64_t problem_bytes(const LqProblem& problem);
  // Makes room for slots_ options, or fewer when the device has less than was thought.
  void allocate();
  void release();
  void assign(int slot, int option, Start start, int max_iterations, bool keep_best);
  // One iteration of the live slots; without `low_rank` the factors are left out. `changing`: some slot is in its first
  // iterations.
  void iterate(const LiveSlots& live, bool low_rank, bool changing);
  void read_states(SlotState* target) const;
  void quantized_costs(std::vector<SweepCost>* out, const Watch& watch);
  // Gives a free slot the next option of its family or of the next family; false when nothing is left.
  bool advance(int slot, std::vector<Run>* runs, size_t* next_family);
  void download_factors(const LqResult& out) const;

  const Stream& stream_;
  const DeviceProblem& matrix_;
  const LqProblem& problem_;
  std::vector<SweepOption> options_;  // those asked for, then leads that were not
  size_t asked_for_;
  std::vector<Family> families_;
  int rank_;
  int slots_ = 0;
  bool any_unaligned_ = false, any_kept_ = false;
  int64_t max_blocks_ = 0, max_groups_ = 0;
  std::vector<int> book_of_;
  Workspace ws_{};
  DeviceProblem::Factors first_{};
  std::vector<SlotOption> host_slot_options_;
  DeviceBuffer<__half> residual_, u_, z_, best_u_, best_z_;
  DeviceBuffer<float> y_sums_, z_sums_, gram_, whitening_, scales_;
  DeviceBuffer<uint32_t> minimum_;
  DeviceBuffer<double> errors_;
  DeviceBuffer<DeviceBook> books_;
  DeviceBuffer<SlotOption> slot_options_;
  DeviceBuffer<SlotState> states_;
  DeviceBuffer<ScaleSlot> scale_slots_;
};

}  // namespace lq::cuda
