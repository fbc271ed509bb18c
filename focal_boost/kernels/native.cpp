// Python module focal_boost.kernels._native: takes arrays apart, chooses the instruction set, divides rows among threads.
//
// Written against the limited API of CPython 3.11, so one binary serves every later version; free-threaded interpreters,
// which have no such API before 3.15, each get one of their own from the same source. Arrays arrive through the buffer
// protocol: any object that has it will do, with any strides, and nothing is copied.

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#endif

#include "task.hpp"

namespace focal_boost {
namespace {

// ---------------------------------------------------------------------------------------------------------------------
// Instruction sets

/// The loops that were compiled and that this machine can run, slowest first.
std::vector<const Loops*> supported_loops() {
    std::vector<const Loops*> loops{&kLoops_baseline};
#if defined(FOCAL_WITH_AVX2)
    // libgcc and compiler-rt also ask whether the operating system saves the wide registers.
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (avx2) loops.push_back(&kLoops_avx2);
#if defined(FOCAL_WITH_AVX512)
    if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw")) {
        loops.push_back(&kLoops_avx512);
    }
#endif
#endif
    return loops;
}

const std::vector<const Loops*> kSupported = supported_loops();
std::atomic<const Loops*> active_loops{kSupported.back()};

// ---------------------------------------------------------------------------------------------------------------------
// Threads

/// Elements below which a thread of its own does not pay: starting one costs some 20 microseconds, and after a round the
/// booster's OpenMP threads still spin on the other cores for milliseconds, so that small work is done sooner alone.
constexpr Index kElementsPerThread = 65536;

/// Elements from which a booster's own team of threads is called: they are there already, and wait for work.
constexpr Index kElementsForTeam = 8192;

/// GOMP_parallel, of libgomp and of LLVM's runtime: calls a function in each thread of the caller's team, and waits for
/// all of them. Of a booster's own OpenMP library, so that its threads compute and need not be kept off the processors.
using Team = void (*)(void (*function)(void*), void* data, unsigned n_threads, unsigned flags);

/// Elements that a thread takes at a time, at most and at least.
constexpr Index kElementsPerChunk = 16384, kLeastPerChunk = 1024;

Index available_cpus() {
    Index available = std::max(1u, std::thread::hardware_concurrency());
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) == 0) available = CPU_COUNT(&set);
#endif
    // What the boosters go by too; a list of numbers has that of the outermost level first.
    const char* limit = std::getenv("OMP_NUM_THREADS");
    const Index wanted = limit != nullptr ? std::strtol(limit, nullptr, 10) : 0;
    return wanted > 0 ? std::min(wanted, available) : available;
}

Index thread_count(Index elements, long requested, Team team) {
    const Index wanted = requested > 0 ? requested : available_cpus();
    // A team is called whole: asked for fewer threads than before, OpenMP ends the others and starts them anew later.
    if (team != nullptr) return elements < kElementsForTeam ? 1 : wanted;
    return std::max<Index>(1, std::min(wanted, elements / kElementsPerThread));
}

/// Elements of a row: margins, or the one of the binary loss.
Index width(const Task& task) { return task.binary ? 1 : std::max<Index>(1, task.n_classes); }

/// Rows that several threads take in chunks. Threads share it with the caller, who does not wait for those that come
/// late: they find nothing left, and touch nothing else.
class Job {
public:
    Job(const Task& task, Index threads)
        : task_(task), scratch_size_(task.binary ? 0 : scratch_size(task.n_classes)), rows_(active_loops.load()->rows),
          chunk_(threads == 1 ? task.n_rows : chunk_size(task.n_rows, width(task), threads)),
          first_bad_(task.n_rows), scratch_(static_cast<std::size_t>(threads * scratch_size_ + 8)) {}

    void work() {
        const Index thread = joined_++;
        // Starts on a cache line, as the tiles in it want.
        const std::size_t misaligned = reinterpret_cast<std::uintptr_t>(scratch_.data()) / sizeof(double) % 8;
        double* const scratch = scratch_.data() + (8 - misaligned) % 8 + thread * scratch_size_;
        for (;;) {
            ++working_;  // before a chunk is taken: who sees that none is left sees who has one
            const Index begin = next_.fetch_add(chunk_);
            // Chunks are taken in order: after a bad row, only those already taken can hold an earlier one.
            const bool done = begin >= task_.n_rows || first_bad_.load() != task_.n_rows;
            const Index bad = done ? kNoBadRow : rows_(task_, begin, std::min(begin + chunk_, task_.n_rows), scratch);
            Index known = first_bad_.load();
            while (bad != kNoBadRow && bad < known && !first_bad_.compare_exchange_weak(known, bad)) {
            }
            --working_;
            if (done) return;
        }
    }

    /// Waits for chunks that others have taken. Returns the first row whose label is not allowed.
    Index wait() const {
        while (working_.load() != 0) std::this_thread::yield();
        return first_bad_.load() == task_.n_rows ? kNoBadRow : first_bad_.load();
    }

private:
    /// Rows of which some are left for threads that are slower, and whole tiles.
    static Index chunk_size(Index n_rows, Index width, Index threads) {
        const Index elements = std::clamp(n_rows * width / (4 * threads), kLeastPerChunk, kElementsPerChunk);
        return std::max<Index>(1, elements / width / kTile) * kTile;
    }

    const Task task_;
    const Index scratch_size_;
    Index (*const rows_)(const Task&, Index, Index, double*);
    const Index chunk_;
    std::atomic<Index> joined_{0}, next_{0}, working_{0}, first_bad_;
    std::vector<double> scratch_;
};

/// Runs the loop over all rows and returns the first row whose label is not allowed.
///
/// Without a team, threads are started for the call. A pool would save microseconds a call and would have to survive
/// fork, wait without burning a core that the booster's own threads need, and end before the interpreter does.
Index run(const Task& task, Index threads, Team team) {
    if (team != nullptr && threads > 1) {
        Job job(task, threads);
        team([](void* data) { static_cast<Job*>(data)->work(); }, &job, static_cast<unsigned>(threads), 0);
        return job.wait();
    }
    const auto job = std::make_shared<Job>(task, threads);
    try {
        for (Index thread = 1; thread < threads; ++thread) std::thread([job] { job->work(); }).detach();
    } catch (const std::exception&) {
        // The system gives no more threads, or no memory for one: those that run, and this one, do the work.
    }
    job->work();
    return job->wait();
}

// ---------------------------------------------------------------------------------------------------------------------
// Arguments

/// Something that Python has been told about.
struct PythonError {};

/// An array that the loops do not take as it is: its dtype is rare, or its elements are not aligned.
struct Unsupported {};

double as_double(PyObject* object) {
    const double value = PyFloat_AsDouble(object);
    if (value == -1.0 && PyErr_Occurred()) throw PythonError{};
    return value;
}

long as_long(PyObject* object) {
    const long value = PyLong_AsLong(object);
    if (value == -1 && PyErr_Occurred()) throw PythonError{};
    return value;
}

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
constexpr char kNativeOrder = '>';
#else
constexpr char kNativeOrder = '<';
#endif

/// A buffer that is held until the end of the call.
class Buffer {
public:
    Buffer(PyObject* object, bool writable) {
        if (object == Py_None) return;
        const int flags = PyBUF_STRIDES | PyBUF_FORMAT | (writable ? PyBUF_WRITABLE : 0);
        if (PyObject_GetBuffer(object, &buffer_, flags) != 0) throw PythonError{};
        held_ = true;
    }
    ~Buffer() {
        if (held_) PyBuffer_Release(&buffer_);
    }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;

    bool given() const { return held_; }
    int ndim() const { return held_ ? buffer_.ndim : 0; }
    Index shape(int axis) const { return buffer_.shape[axis]; }
    const void* data() const { return buffer_.buf; }

    /// The array with its element type; dtypes and alignments that the loops do not know throw.
    View view() const {
        if (!held_) return {nullptr, 0, 0, Type::kNone};
        const View view{static_cast<char*>(buffer_.buf), ndim() > 0 ? buffer_.strides[0] : 0,
                        ndim() > 1 ? buffer_.strides[1] : 0, type()};
        const auto misaligned = [this](Index x) { return x % buffer_.itemsize != 0; };
        if (misaligned(static_cast<Index>(reinterpret_cast<std::uintptr_t>(view.data))) ||
            misaligned(view.row_stride) || misaligned(view.column_stride)) {
            throw Unsupported{};
        }
        return view;
    }

private:
    Type type() const {
        // One letter for native byte order and alignment; LightGBM's arrays say "little endian" in so many words.
        const char* format = buffer_.format;
        if (format != nullptr && (*format == kNativeOrder || *format == '=' || *format == '@')) ++format;
        if (format == nullptr || std::strlen(format) != 1) throw Unsupported{};
        const Py_ssize_t size = buffer_.itemsize;
        switch (format[0]) {
            case 'f': return Type::kFloat32;
            case 'd': return Type::kFloat64;
            case 'b': return Type::kInt8;
            case 'B':
            case '?': return Type::kUInt8;
            case 'i':
            case 'l':
            case 'q':
                if (size == 4) return Type::kInt32;
                if (size == 8) return Type::kInt64;
                break;
            default: break;
        }
        throw Unsupported{};
    }

    Py_buffer buffer_{};
    bool held_ = false;
};

void require(bool condition, const char* message) {
    if (condition) return;
    PyErr_SetString(PyExc_ValueError, message);
    throw PythonError{};
}

View floating(const View& view) {
    if (view.type != Type::kFloat32 && view.type != Type::kFloat64) throw Unsupported{};
    return view;
}

/// One value a row.
View column(const Buffer& buffer, Index n) {
    require(buffer.ndim() == 1 && buffer.shape(0) == n, "labels, weights and losses must have one value a row");
    return buffer.view();
}

View like_margins(const Buffer& buffer, const Buffer& margins) {
    require(buffer.ndim() == margins.ndim() && buffer.shape(0) == margins.shape(0) &&
                (margins.ndim() == 1 || buffer.shape(1) == margins.shape(1)),
            "output arrays must have the shape of the margins");
    return floating(buffer.view());
}

/// Doubles without gaps.
const double* doubles(const Buffer& buffer, Index at_least) {
    const View view = buffer.view();
    require(buffer.ndim() == 1 && buffer.shape(0) >= at_least, "parameters must be one array of doubles");
    require(view.type == Type::kFloat64 && view.row_stride == sizeof(double), "parameters must be one array of doubles");
    return reinterpret_cast<const double*>(view.data);
}

// ---------------------------------------------------------------------------------------------------------------------
// The one function of losses. It returns the first row with a label that is not allowed, -1 if there is none, and -2 if
// an array must be converted first; native.py turns that into exceptions and conversions.

constexpr long kConvert = -2;

/// Refuses tables that lie outside of the numbers that were given.
void require_tables(const Task& task, Index size) {
    const double* places = task.head + 4 * task.n_classes;
    const auto within = [size](double place, double length) { return place >= 0.0 && place + length <= static_cast<double>(size); };
    for (Index i = 0; i < 3 * task.n_classes; ++i) {
        if (task.binary && i % 3 == 2) continue;  // there is none
        require(within(places[i], kTableHeader), "parameters hold a table that lies outside of them");
        const double n_cells = static_cast<const double*>(task.tables)[static_cast<Index>(places[i]) + 2];
        require(n_cells >= 1.0 && within(places[i], kTableHeader + kTableTerms * n_cells),
                "parameters hold a table that lies outside of them");
    }
}

/// `run` without the interpreter's lock, which it takes back even if memory runs out.
Index run_unlocked(const Task& task, Index threads, Team team) {
    struct Unlock {
        PyThreadState* state = PyEval_SaveThread();
        ~Unlock() { PyEval_RestoreThread(state); }
    } unlock;
    return run(task, threads, team);
}

/// operation, binary, logit, max_step, n_steps, head, tables, y, z, weight, out, hessian_out, n_threads, intercept,
/// hessian_scale, team
Index run_task(PyObject* const* args, Py_ssize_t n_args) {
    constexpr Py_ssize_t kArguments = 16;
    if (n_args != kArguments) {
        PyErr_Format(PyExc_TypeError, "%zd arguments expected, %zd given", kArguments, n_args);
        throw PythonError{};
    }
    const Buffer head(args[5], false), tables(args[6], false), y(args[7], false), z(args[8], false), weight(args[9], false);
    const Buffer out(args[10], true), hessian_out(args[11], true), intercept(args[13], false);
    Task task{};
    const long operation = as_long(args[0]);
    require(operation >= 0 && operation <= 3, "the operation is not known");
    task.operation = static_cast<Operation>(operation);
    task.binary = as_long(args[1]) != 0;
    task.logit = as_long(args[2]) != 0;
    require(z.ndim() == (task.binary ? 1 : 2), task.binary ? "margins must have shape (n,)" : "margins must have shape (n, K)");
    task.z = floating(z.view());
    task.n_rows = z.shape(0);
    task.n_classes = task.binary ? 2 : z.shape(1);
    task.head = doubles(head, (task.logit ? 7 : 4) * task.n_classes);
    task.tables = doubles(tables, 0);
    const auto alike = [&](const double* values) { return std::all_of(values, values + task.n_classes, [&](double x) { return x == *values; }); };
    task.uniform = alike(task.head) && alike(task.head + task.n_classes);
    task.n_steps = static_cast<int>(as_long(args[4]));
    if (task.logit) require_tables(task, tables.shape(0));
    if (intercept.given()) task.intercept = doubles(intercept, task.binary ? 1 : task.n_classes);
    // 1 / max_step, finite so that it can be multiplied by a gradient of 0.
    const double max_step = as_double(args[3]);
    task.least = max_step < HUGE_VAL ? 0.0 : -HUGE_VAL;
    task.inverse_step = std::min(1.0 / max_step, 1.7e308);
    task.hessian_scale = as_double(args[14]);
    if (y.given()) task.y = column(y, task.n_rows);
    if (weight.given()) task.weight = column(weight, task.n_rows);
    task.out = task.operation == Operation::kLoss ? floating(column(out, task.n_rows)) : like_margins(out, z);
    task.coarse = task.out.type == Type::kFloat32 && task.n_steps == 1 && task.operation == Operation::kExpected;
    if (hessian_out.given()) task.hessian_out = like_margins(hessian_out, z);
    const bool derivatives = task.operation == Operation::kExpected || task.operation == Operation::kExact;
    require(hessian_out.given() == derivatives, "derivatives take two output arrays");
    // The address of a function, or 0.
    void* const address = PyLong_AsVoidPtr(args[15]);
    if (address == nullptr && PyErr_Occurred()) throw PythonError{};
    const Team team = reinterpret_cast<Team>(address);
    // With the lock held, where there is one: Python code that changes the environment, which this may read, holds it too.
    return run_unlocked(task, thread_count(task.n_rows * width(task), as_long(args[12]), team), team);
}

PyObject* run_kernel(PyObject*, PyObject* const* args, Py_ssize_t n_args) {
    try {
        return PyLong_FromLongLong(run_task(args, n_args));
    } catch (const PythonError&) {
        return nullptr;
    } catch (const Unsupported&) {
        return PyLong_FromLong(kConvert);
    } catch (const std::exception&) {  // bad_alloc, and length_error of what no memory could hold
        return PyErr_NoMemory();
    }
}

PyObject* dispatch(PyObject*, PyObject*) { return PyUnicode_FromString(active_loops.load()->name); }

PyObject* supported(PyObject*, PyObject*) {
    PyObject* names = PyList_New(0);
    for (const Loops* loops : kSupported) {
        PyObject* name = names != nullptr ? PyUnicode_FromString(loops->name) : nullptr;
        if (name == nullptr || PyList_Append(names, name) != 0) Py_CLEAR(names);
        Py_XDECREF(name);
    }
    return names;
}

PyObject* set_dispatch(PyObject*, PyObject* wanted) {
    for (const Loops* loops : kSupported) {
        PyObject* name = PyUnicode_FromString(loops->name);
        if (name == nullptr) return nullptr;
        const int equal = PyObject_RichCompareBool(name, wanted, Py_EQ);
        Py_DECREF(name);
        if (equal < 0) return nullptr;
        if (equal == 1) {
            active_loops.store(loops);
            Py_RETURN_NONE;
        }
    }
    PyErr_Format(PyExc_ValueError, "instruction set %R is not available on this machine or was not compiled", wanted);
    return nullptr;
}

PyObject* cpu_count(PyObject*, PyObject*) { return PyLong_FromLongLong(available_cpus()); }

// The function pointer type of METH_FASTCALL differs from the one in the table; the interpreter casts it back.
template <class Function>
PyCFunction erased(Function function) {
    return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

PyMethodDef kMethods[] = {
    {"run", erased(run_kernel), METH_FASTCALL, nullptr},
    {"dispatch", dispatch, METH_NOARGS, "Name of the instruction set in use."},
    {"supported", supported, METH_NOARGS, "Instruction sets compiled and available here, slowest first."},
    {"set_dispatch", set_dispatch, METH_O, "Use the instruction set of this name from the next call on."},
    {"cpu_count", cpu_count, METH_NOARGS, "Processors that this process may use."},
    {nullptr, nullptr, 0, nullptr},
};

// A free-threaded interpreter that imports this stays one: calls share the instruction set, which is atomic, and the list
// of those there are, which is made when the library is loaded and never changed. All else belongs to a call. Arrays are
// the caller's: as in NumPy, none may be written to while a call has it.
PyModuleDef_Slot kSlots[] = {
#if defined(Py_mod_gil)
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, nullptr},
};

PyModuleDef kModule = {
    PyModuleDef_HEAD_INIT, "_native", "Compiled kernels; see native.py.", 0, kMethods, kSlots, nullptr, nullptr, nullptr,
};

}  // namespace
}  // namespace focal_boost

PyMODINIT_FUNC PyInit__native() { return PyModuleDef_Init(&focal_boost::kModule); }
